//! The modules of this crate do not depend on each other in a cycle.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules whose use is not checked. The conformance suites use the traits, and the tests of the traits use the suites.
const UNCHECKED: [&str; 1] = ["testing"];

#[test]
fn modules_do_not_depend_on_each_other_in_a_cycle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exports = exports(&fs::read_to_string(source.join("lib.rs")).unwrap());
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for file in files(&source) {
        let module = module(file.strip_prefix(&source).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let used = used(code).into_iter().map(|name| exports.get(&name).cloned().unwrap_or(name));
        let used: Vec<_> =
            used.filter(|name| *name != module && !UNCHECKED.contains(&name.as_str())).collect();
        uses.entry(module).or_default().extend(used);
    }
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    uses.values_mut().for_each(|used| used.retain(|name| modules.contains(name)));
    assert!(uses["transport"].contains("error") && uses["transport"].contains("resilience"), "{uses:?}");
    // Remove modules that use no remaining module, until none is left. The modules that cannot be removed are in a
    // cycle or depend on one.
    while let Some(lowest) = uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        uses.remove(&lowest);
        uses.values_mut().for_each(|used| {
            used.remove(&lowest);
        });
    }
    assert!(uses.is_empty(), "these modules are in a cycle, or use a module that is: {uses:#?}");
}

/// Returns the module of each name that the root of the crate exports.
fn exports(root: &str) -> BTreeMap<String, String> {
    let lists = root.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let paths = lists.filter_map(|list| list.split_once("::"));
    let names = |(module, list): (&str, &str)| {
        let names = list.trim_matches(['{', '}']).split(',').map(|name| name.trim().to_owned());
        names.map(|name| (name, module.to_owned())).collect::<Vec<_>>()
    };
    paths.flat_map(names).collect()
}

/// Returns the first name of every path that begins with `crate::`, including the paths in a braced list.
fn used(code: &str) -> BTreeSet<String> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(identifier(rest));
            continue;
        };
        let (mut depth, mut first) = (0_u32, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => first = true,
                c if first && c.is_alphanumeric() => {
                    names.insert(identifier(&list[at..]));
                    first = false;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

/// Returns the identifier at the start of `text`.
fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Returns the top-level module of a source file.
fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns all source files below `dir` except the crate's root and tests.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true if name != "tests" => found.extend(files(&path)),
            false if name.ends_with(".rs") && !["lib.rs", "tests.rs"].contains(&name.as_str()) => {
                found.push(path);
            }
            _ => {}
        }
    }
    found
}
