//! A check that dependencies between the modules of a library crate go one way.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIBRARIES, modules::Modules, workspace};

/// Pairs of modules that may use each other.
const EXCEPTIONS: [&str; 1] = [
    // reason: a session uses the hub's state and queue, and `hub/mod.rs` alone starts sessions
    "comms-ws: hub <-> session",
];

/// The uses between modules: the user and the used module, with the paths by which it is used.
type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// Siblings are the modules of one folder. A folder uses whatever any file in it uses.
#[test]
fn no_sibling_modules_use_each_other() {
    let (mut found, mut stale) = (BTreeMap::new(), BTreeSet::from(EXCEPTIONS.map(str::to_owned)));
    for package in LIBRARIES {
        let mut uses = uses(&Modules::read(&workspace().join(package).join("src")));
        let pairs: Vec<_> = uses.keys().filter(|(first, second)| first < second).cloned().collect();
        for (first, second) in pairs {
            let back = (second.clone(), first.clone());
            if uses.contains_key(&back) && stale.remove(&format!("{package}: {first} <-> {second}")) {
                uses.remove(&back);
                uses.remove(&(first, second));
            }
        }
        assert!(uses.len() > 10, "{package}: only {uses:#?} are found");
        let cycles = cycles(uses);
        if !cycles.is_empty() {
            found.insert(package, cycles);
        }
    }
    assert!(stale.is_empty(), "delete exceptions for modules that do not use each other: {stale:#?}");
    assert!(found.is_empty(), "move what both need into one of the two, or into a third module: {found:#?}");
}

fn uses(modules: &Modules) -> Uses {
    let mut uses = Uses::new();
    for (user, used, path) in modules.uses() {
        uses.entry((user, used)).or_default().insert(path);
    }
    uses
}

/// Returns the uses that are part of a cycle, or lead from one cycle to another: those that are left after modules that
/// use nothing, and modules that nothing uses, have been removed.
fn cycles(mut uses: Uses) -> Uses {
    loop {
        let users: BTreeSet<_> = uses.keys().map(|(user, _)| user.clone()).collect();
        let used: BTreeSet<_> = uses.keys().map(|(_, used)| used.clone()).collect();
        let before = uses.len();
        uses.retain(|(first, second), _| used.contains(first) && users.contains(second));
        if uses.len() == before {
            return uses;
        }
    }
}
