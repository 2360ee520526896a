//! The modules of a crate and the paths by which they use each other, read from the source text.
//!
//! A path is followed through `use` declarations to the module that defines the item. Paths inside macros count,
//! method calls do not, and tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::rust_files;

/// `use` declarations are followed this far, which ends the search if two of them name each other.
const MAX_DEPTH: usize = 8;

/// The names from the crate's root to a module. The root has the empty path.
type ModulePath = Vec<String>;

/// The modules of one crate, one for each file.
pub(super) struct Modules {
    files: BTreeMap<ModulePath, Vec<Mention>>,
    /// The paths of `use` declarations, by the module with the declaration and the name that it gets there.
    imports: BTreeMap<(ModulePath, String), Vec<String>>,
    /// The functions that stand in a module outside of `impl` blocks, and those in them.
    functions: BTreeSet<(ModulePath, String)>,
}

/// A path as it is written in a file.
struct Mention {
    path: Vec<String>,
    kind: Kind,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// `use path` or `use path as name`.
    Import { name: String },
    /// `pub use path`: the module passes the item on, and need not use it.
    ReExport { name: String },
    /// A path in an expression, a type or a pattern.
    Inline,
}

impl Modules {
    /// Reads the Rust files below `source`, except those of tests.
    pub(super) fn read(source: &Path) -> Self {
        let mut paths = Vec::new();
        rust_files(source, &mut paths);
        let mut modules =
            Self { files: BTreeMap::new(), imports: BTreeMap::new(), functions: BTreeSet::new() };
        for path in paths {
            let module = module_path(path.strip_prefix(source).unwrap());
            if module.iter().any(|name| name == "tests") {
                continue;
            }
            let tokens = tokens(&fs::read_to_string(path).unwrap());
            let names = tokens.windows(2).filter(|pair| pair[0] == "fn").map(|pair| pair[1].clone());
            modules.functions.extend(names.map(|name| (module.clone(), name)));
            let mentions = mentions(&tokens);
            for Mention { path, kind } in &mentions {
                if let Kind::Import { name } | Kind::ReExport { name } = kind {
                    modules.imports.insert((module.clone(), name.clone()), path.clone());
                }
            }
            modules.files.insert(module, mentions);
        }
        modules
    }

    /// The uses between modules of one folder, and between a folder's `mod.rs` and a module in it: the user, the used
    /// module, and the path in the file that uses it.
    ///
    /// A module in a folder may name the types and constants of the folder's `mod.rs`: only a function counts as a use.
    pub(super) fn uses(&self) -> Vec<(String, String, String)> {
        let mut uses = Vec::new();
        for (from, mentions) in &self.files {
            for Mention { path, kind } in mentions {
                let is_local =
                    matches!(path[0].as_str(), "crate" | "self" | "super") || self.has(from, &path[0]);
                if *kind == Kind::Inline && !is_local {
                    continue; // The import of its first name is a mention of its own.
                }
                let Some((to, rest)) = self.resolve(from, path, 0) else { continue };
                let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
                let used = match (shared == from.len(), shared == to.len()) {
                    (true, true) => continue,
                    (true, false) if matches!(kind, Kind::ReExport { .. }) => continue,
                    (_, true) if !rest.first().is_some_and(|name| self.is_function(&to, name)) => continue,
                    _ => &to,
                };
                let name = |path: &[String]| match path.get(..=shared).unwrap_or(path) {
                    [] => "lib".to_owned(),
                    names => names.join("/"),
                };
                uses.push((name(from), name(used), format!("{}: {}", from.join("/"), path.join("::"))));
            }
        }
        uses
    }

    fn is_function(&self, module: &ModulePath, name: &str) -> bool {
        self.functions.contains(&(module.clone(), name.to_owned()))
    }

    fn has(&self, module: &[String], child: &str) -> bool {
        self.files.contains_key(&[module, &[child.to_owned()]].concat())
    }

    /// The module to which `path` leads, and the names of `path` that remain there. `None` for a path into another
    /// crate.
    fn resolve(&self, from: &ModulePath, path: &[String], depth: usize) -> Option<(ModulePath, Vec<String>)> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (mut module, mut rest) = (from.clone(), path);
        match path[0].as_str() {
            "crate" => (module, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {}
            first if self.has(from, first) => {}
            // A name that is neither a module below this one nor an import is another crate or a type.
            first => {
                let import = self.imports.get(&(from.clone(), first.to_owned()))?;
                (import[0] != first).then_some(())?;
            }
        }
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                module.pop()?;
            } else if self.has(&module, name) {
                module.push(name.clone());
            } else if let Some(import) = self.imports.get(&(module.clone(), name.clone())) {
                let (module, mut left) = self.resolve(&module, import, depth + 1)?;
                left.extend_from_slice(after);
                return Some((module, left));
            } else {
                break;
            }
            rest = after;
        }
        Some((module, rest.to_vec()))
    }
}

fn module_path(file: &Path) -> ModulePath {
    let file = file.with_extension("");
    let mut names: ModulePath = file.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    names.pop_if(|name| name == "mod" || name == "lib");
    names
}

/// The words and signs of a file without comments and without its `mod tests { ... }`.
fn tokens(text: &str) -> Vec<String> {
    let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut tokens = Vec::new();
    for line in program.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            tokens.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn mentions(tokens: &[String]) -> Vec<Mention> {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let (mut mentions, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or(";", &token);
        if token(at) == "use" && matches!(before, ";" | "}" | "{" | "]" | ")" | "pub") {
            let mut leaves = Vec::new();
            at = use_tree(tokens, at + 1, &[], &mut leaves);
            let is_pub = matches!(before, "pub" | ")");
            mentions.extend(leaves.into_iter().map(|(path, name)| {
                let kind = if is_pub { Kind::ReExport { name } } else { Kind::Import { name } };
                Mention { path, kind }
            }));
        } else if token(at + 1) == "::" && before != "::" && is_word(token(at)) {
            let mut path = vec![token(at).to_owned()];
            while token(at + 1) == "::" && is_word(token(at + 2)) {
                at += 2;
                path.push(token(at).to_owned());
            }
            mentions.push(Mention { path, kind: Kind::Inline });
            at += 1;
        } else {
            at += 1;
        }
    }
    mentions
}

/// Reads the tree of a `use` declaration from `at`, and returns the place after it. A leaf is a path and its name.
fn use_tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    leaves: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map_or(";", String::as_str) {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = use_tree(tokens, at, &path, leaves);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "as" => {
                leaves.push((path, tokens[at + 1].clone()));
                return at + 2;
            }
            "self" if !prefix.is_empty() && path.len() == prefix.len() => {}
            "::" => {}
            "*" => path.push("*".to_owned()),
            word if is_word(word) => path.push(word.to_owned()),
            _ => {
                let name = path.last().cloned().unwrap_or_default();
                leaves.push((path, name));
                return at;
            }
        }
        at += 1;
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
