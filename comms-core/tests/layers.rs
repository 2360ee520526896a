//! No module of this crate uses a module that uses it back.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What may stand beside each other: the suites are written against the traits, and are used in the traits' own tests.
const APART: [&str; 1] = ["testing"];

#[test]
fn no_module_uses_a_module_that_uses_it_back() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exports = exports(&fs::read_to_string(source.join("lib.rs")).unwrap());
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for file in files(&source) {
        let module = module(file.strip_prefix(&source).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let used = used(code).into_iter().map(|name| exports.get(&name).cloned().unwrap_or(name));
        let used: Vec<_> = used.filter(|name| *name != module && !APART.contains(&name.as_str())).collect();
        uses.entry(module).or_default().extend(used);
    }
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    uses.values_mut().for_each(|used| used.retain(|name| modules.contains(name)));
    assert!(uses["transport"].contains("error") && uses["transport"].contains("resilience"), "{uses:?}");
    // Modules that use nothing which is left are laid down, layer by layer; what remains is a cycle.
    while let Some(lowest) = uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        uses.remove(&lowest);
        uses.values_mut().for_each(|used| {
            used.remove(&lowest);
        });
    }
    assert!(uses.is_empty(), "a cycle among, or above, these: {uses:#?}");
}

/// From the name that the crate's root exports to its module.
fn exports(root: &str) -> BTreeMap<String, String> {
    let lists = root.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let paths = lists.filter_map(|list| list.split_once("::"));
    let names = |(module, list): (&str, &str)| {
        let names = list.trim_matches(['{', '}']).split(',').map(|name| name.trim().to_owned());
        names.map(|name| (name, module.to_owned())).collect::<Vec<_>>()
    };
    paths.flat_map(names).collect()
}

/// The first name of every path that begins with `crate::`, in lists too.
fn used(code: &str) -> BTreeSet<String> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
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
                    names.insert(word(&list[at..]));
                    first = false;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

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
