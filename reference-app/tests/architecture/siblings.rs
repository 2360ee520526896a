//! A check that dependencies between the modules of a library crate go one way.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIBRARIES, modules::Modules, workspace};

/// Pairs of modules that may use each other.
const EXCEPTIONS: [&str; 1] = [
    // reason: a session uses the hub's state and queue, and `hub/mod.rs` alone starts sessions
    "comms-ws: hub <-> session",
];

/// Siblings are the modules of one folder. A folder uses whatever any file in it uses.
#[test]
fn no_two_sibling_modules_use_each_other() {
    let mut found = BTreeMap::new();
    for package in LIBRARIES {
        let modules = Modules::read(&workspace().join(package).join("src"));
        let pairs = mutual(&modules).into_iter();
        found.extend(pairs.map(|(first, second, paths)| (format!("{package}: {first} <-> {second}"), paths)));
    }
    let stale: Vec<_> = EXCEPTIONS.iter().filter(|pair| !found.contains_key(**pair)).collect();
    assert!(stale.is_empty(), "delete exceptions for modules that do not use each other: {stale:#?}");
    found.retain(|pair, _| !EXCEPTIONS.contains(&pair.as_str()));
    assert!(found.is_empty(), "move what both need into one of the two, or into a third module: {found:#?}");
}

/// The pairs of modules that use each other, with the paths by which they do.
fn mutual(modules: &Modules) -> Vec<(String, String, BTreeSet<String>)> {
    let mut uses = BTreeMap::<(String, String), BTreeSet<String>>::new();
    for (user, used, path) in modules.uses() {
        uses.entry((user, used)).or_default().insert(path);
    }
    let pairs = uses.iter().filter(|((first, second), _)| first < second);
    let mutual = pairs.filter_map(|((first, second), paths)| {
        let back = uses.get(&(second.clone(), first.clone()))?;
        Some((first.clone(), second.clone(), paths | back))
    });
    mutual.collect()
}
