//! Refusals that name the key as its user has written it, and never the value of a key that may be secret.

use comms_core::Error;
use figment::error::Kind;

use super::tree::{Place, Tree, dotted, variable};

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
            let place = (dotted(&path), variable(&path));
            return Error::invalid(format!("{} is missing ({})", place.0, place.1));
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {}", wanted(tree, &path, expected))
        }
        Kind::UnknownVariant(_, expected) => format!("must be one of {expected:?}"),
        // Made of the value, by whoever reads it.
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
    let own = dotted(path);
    let alike = |key: &String| strsim::damerau_levenshtein(key, &own);
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
        "a string" => "text, in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        text if text.contains("socket address") => {
            "an address with a port, such as 127.0.0.1:8080".to_owned()
        }
        text if text.starts_with("struct ") || text == "a map" => {
            let known = tree.keys.inside(&dotted(path));
            known.map_or("a table of keys".to_owned(), |key| {
                format!("a table of keys, such as {}", example(key))
            })
        }
        text if text.starts_with("a sequence") => "a list, such as [\"a\", \"b\"]".to_owned(),
        text if text.starts_with(['i', 'u']) && text[1..].parse::<u8>().is_ok() => {
            "a whole number".to_owned()
        }
        "usize" | "isize" => "a whole number".to_owned(),
        text => text.to_owned(),
    }
}
