//! Values that are kept for each method, up to a limit.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Methods that are kept. The value of any further method is made in each call.
const MAX_KEPT: usize = 1_024;

/// The values of the methods that were called, by path (`/package.Service/Method`).
pub(crate) struct MethodCache<T>(RwLock<HashMap<Box<str>, Arc<T>>>);

impl<T> Default for MethodCache<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> MethodCache<T> {
    pub(crate) fn get(&self, path: &str) -> Option<Arc<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Keeps `value` for the method at `path`, unless the limit is reached. Returns the value that is kept.
    pub(crate) fn add(&self, path: &str, value: T) -> Arc<T> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = known.get(path) {
            return earlier.clone();
        }
        let value = Arc::new(value);
        if known.len() < MAX_KEPT {
            known.insert(path.into(), value.clone());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_up_to_the_limit() {
        let cache = MethodCache::default();
        for number in 0..=MAX_KEPT {
            assert_eq!(*cache.add(&number.to_string(), number), number);
        }
        assert_eq!(*cache.add("0", 7), 0, "the first value stays");
        assert_eq!(cache.get("1023").as_deref(), Some(&1_023));
        assert_eq!(cache.get("1024"), None, "over the limit");
    }
}
