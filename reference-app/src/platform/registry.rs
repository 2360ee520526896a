//! A list of parts of the process that grows while services start.

use std::sync::{Arc, Mutex, PoisonError};

/// The registered parts, in the order in which they were added. Clones share the list.
pub struct Registry<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Registry<T> {
    /// Adds `part`, unless `collides` returns `true` for a registered part. Returns whether it was added.
    #[must_use]
    pub fn add(&self, part: T, collides: impl Fn(&T) -> bool) -> bool {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !parts.iter().any(collides);
        if is_new {
            parts.push(part);
        }
        is_new
    }

    /// Returns a copy of the list.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_list_and_a_part_that_collides_is_not_added() {
        let registry = Registry::default();
        let clone = registry.clone();
        assert!(registry.add(1, |part| *part == 1) && clone.add(2, |part| *part == 2));
        assert!(!registry.add(3, |part| *part == 2));
        assert_eq!((registry.all(), clone.all()), (vec![1, 2], vec![1, 2]));
    }
}
