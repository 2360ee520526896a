//! Refusals that name the key as its user has written it, and never the value of a key that may be secret.

use comms_core::Error;
use figment::error::Kind;

use super::{
    names::{dotted, shown, variable},
    tree::{Place, Tree},
};

/// The error of reading `section` of `tree` as a type.
pub(super) fn refusal(tree: &Tree, section: &[&str], error: &figment::Error) -> Error {
    let mut path: Vec<&str> = section.to_vec();
    path.extend(error.path.iter().map(String::as_str));
    let text = match &error.kind {
        Kind::UnknownField(field, siblings) => {
            if path.last() != Some(&field.as_str()) {
                path.push(field);
            }
            let table = &path[..path.len() - 1];
            let siblings: Vec<_> = siblings.iter().map(|key| [table, &[*key]].concat()).collect();
            return unknown(tree, &path, &siblings);
        }
        Kind::MissingField(field) => {
            path.push(field);
            let place = (shown(&path), variable(&path));
            return Error::invalid(format!("{} is missing ({})", place.0, place.1));
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {}", wanted(tree, &path, expected))
        }
        Kind::UnknownVariant(_, expected) => format!("must be one of {expected:?}"),
        Kind::Message(text) if text.contains("socket address") => {
            format!("must be {}", wanted(tree, &path, text))
        }
        // The text quotes the value.
        Kind::Message(text) if tree.keys.harmless(&dotted(&path)) => text.clone(),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is out of range".to_owned(),
        _ => "cannot be read".to_owned(),
    };
    Error::invalid(format!("{}: {text}", tree.written(&path)))
}

/// The refusal of a key that does not exist. `siblings`: keys that do, besides those of the platform.
pub(super) fn unknown(tree: &Tree, path: &[&str], siblings: &[Vec<&str>]) -> Error {
    let mut valid: Vec<String> = siblings.iter().map(|path| dotted(path)).collect();
    valid.extend(tree.keys.all().iter().cloned());
    let own = dotted(path).to_lowercase();
    let alike = |key: &String| distance(key, &own);
    let nearest = valid.iter().min_by_key(|key| alike(key)).filter(|key| alike(key) * 2 <= own.len());
    let hint = match (nearest, tree.place(path)) {
        (Some(key), Place::Environment) => {
            format!("; the nearest key is {}", variable(&key.split('.').collect::<Vec<_>>()))
        }
        (Some(key), _) => format!("; the nearest key is {key}"),
        (None, _) => String::new(),
    };
    Error::invalid(format!("unknown key {}{hint}", tree.written(path)))
}

/// The number of edits from `own` to `key`. It counts half for a key of the same name in another section, and for one of
/// the same section whose name contains the other.
fn distance(key: &str, own: &str) -> usize {
    let edits = strsim::damerau_levenshtein(key, own);
    let split =
        |key: &'_ str| key.rsplit_once('.').map_or((0, 0), |(section, _)| (section.len(), section.len() + 1));
    let ((key_section, key_name), (own_section, own_name)) = (split(key), split(own));
    let (name, own_last) = (&key[key_name..], &own[own_name..]);
    let is_moved = name == own_last;
    let is_longer =
        key[..key_section] == own[..own_section] && (name.contains(own_last) || own_last.contains(name));
    if is_moved || is_longer { edits / 2 } else { edits }
}

/// The refusal of a list where a table belongs.
pub(super) fn needs_table(tree: &Tree, path: &[&str]) -> Error {
    Error::invalid(format!("{}: must be {}", tree.written(path), wanted(tree, path, "a map")))
}

/// Whether serde's `expected` stands for text.
pub(super) fn is_text(expected: &str) -> bool {
    expected == "a string" || expected == "path string"
}

/// What a value must be, in plain words.
fn wanted(tree: &Tree, path: &[&str], expected: &str) -> String {
    let example = |key: &str| {
        let inner = [path, &[key]].concat();
        match tree.place(path) {
            Place::Environment => variable(&inner),
            _ => dotted(&inner),
        }
    };
    match expected {
        text if is_text(text) || text.starts_with("enum ") => quoted(tree, path),
        "a boolean" => "true or false".to_owned(),
        text if text.contains("socket address") => {
            "an address with a port, such as 127.0.0.1:8080".to_owned()
        }
        text if text.starts_with("struct ") || text == "a map" => {
            let known = tree.keys.inside(&dotted(path));
            let any = "a table of keys, such as {\"client.id\" = \"shop\"}";
            known.map_or(any.to_owned(), |key| format!("a table of keys, such as {}", example(key)))
        }
        text if text.starts_with("a sequence") => match tree.place(path) {
            Place::Environment => "a list, such as [a, b]".to_owned(),
            _ => "a list, such as [\"a\", \"b\"]".to_owned(),
        },
        text if text.starts_with(['i', 'u']) && text[1..].parse::<u8>().is_ok() => {
            "a whole number".to_owned()
        }
        "usize" | "isize" => "a whole number".to_owned(),
        text => text.to_owned(),
    }
}

fn quoted(tree: &Tree, path: &[&str]) -> String {
    match tree.place(path) {
        Place::Environment => {
            "text: put double quotes around it, within the value of the variable".to_owned()
        }
        _ => "text, in quotes".to_owned(),
    }
}
