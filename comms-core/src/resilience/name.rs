//! Interned names of guards and policies.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Returns `name` with a static lifetime, the same pointer for the same text.
///
/// A rejection carries the name without a reference count. During an outage many threads are rejected at once, and a
/// shared count would be contended. Names are few, because they are labels of metrics, so leaking them is bounded.
pub(super) fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(interned) = names.get(name) {
        return interned;
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    name
}
