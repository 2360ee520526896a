//! Names of guards and policies.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// `name` for the rest of the process, the same text once. A rejection then carries it without counting
/// references: when things go badly many threads are rejected at once, and a shared count would be where they
/// meet. Names are few: they are labels of metrics, too.
pub(super) fn intern(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    name
}
