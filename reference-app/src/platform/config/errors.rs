//! Error texts of the configuration. An error names the key in the form in which the user set it, and never contains
//! the value of a key that may be secret.

use comms_core::Error;
use figment::error::Kind;

use super::{
    key_names::{dotted, printable, variable},
    tree::{Origin, Tree},
};

/// Converts the error of reading `section` of `tree` as a type.
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
            let text = format!(
                "{} is missing: set it in the configuration file, or set {}",
                printable(&path),
                variable(&path)
            );
            return Error::invalid(text);
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {}", expected_value(tree, &path, expected))
        }
        Kind::UnknownVariant(_, expected) => format!("must be one of: {}", expected.join(", ")),
        Kind::Message(text) if text.contains("socket address") => {
            format!("must be {}", expected_value(tree, &path, text))
        }
        // This text quotes the value, so use it only for printable keys.
        Kind::Message(text) if tree.keys.is_printable(&dotted(&path)) => text.clone(),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is out of range".to_owned(),
        _ => "is not a valid value".to_owned(),
    };
    Error::invalid(format!("{}: {text}", tree.key_as_set(&path)))
}

/// Earlier names of keys, without the name of the policy, and their present names.
const RENAMED: [(&str, &str); 13] = [
    ("consumer.attempts", "max_attempts"),
    ("retry.attempts", "max_attempts"),
    ("breaker.failures", "failure_threshold"),
    ("breaker.successes", "success_threshold"),
    ("breaker.open_for", "open_duration"),
    ("breaker.open_limit", "max_open_duration"),
    ("breaker.probes", "half_open_max_calls"),
    ("window.over", "kind"),
    ("window.failure_rate", "failure_rate_threshold"),
    ("window.slow_after", "slow_call_duration"),
    ("window.slow_rate", "slow_call_rate_threshold"),
    ("bulkhead.limit", "max_concurrent"),
    ("bulkhead.max_waiting", "max_queued"),
];

/// Returns the present path of a key that `path` names by its earlier name.
fn renamed<'a>(path: &[&'a str]) -> Option<Vec<&'a str>> {
    let [.., table, name] = path else { return None };
    let old = dotted(&[*table, *name]).to_lowercase();
    let (_, new) = RENAMED.iter().find(|(earlier, _)| *earlier == old)?;
    Some([&path[..path.len() - 1], &[*new]].concat())
}

/// Returns the error for a key that does not exist, with its present name if it was renamed, or else with the nearest
/// existing key. `siblings` are valid keys in addition to those that `tree` knows.
pub(super) fn unknown(tree: &Tree, path: &[&str], siblings: &[Vec<&str>]) -> Error {
    if let Some(renamed) = renamed(path) {
        let name = match tree.origin(path) {
            Origin::Environment => variable(&renamed),
            _ => printable(&renamed),
        };
        return Error::invalid(format!("unknown key {}: it is now {name}", tree.key_as_set(path)));
    }
    let mut valid: Vec<String> = siblings.iter().map(|path| dotted(path)).collect();
    valid.extend(tree.keys.all().iter().cloned());
    let key = dotted(path).to_lowercase();
    let edits = |valid: &String| distance(valid, &key);
    let nearest = valid.iter().min_by_key(|valid| edits(valid)).filter(|valid| edits(valid) * 2 <= key.len());
    let hint = match (nearest, tree.origin(path)) {
        (Some(key), Origin::Environment) => {
            format!("; the nearest key is {}", variable(&key.split('.').collect::<Vec<_>>()))
        }
        (Some(key), _) => format!("; the nearest key is {key}"),
        (None, _) => "; docs/reference/configuration.md lists all keys".to_owned(),
    };
    Error::invalid(format!("unknown key {}{hint}", tree.key_as_set(path)))
}

/// Returns the number of edits from `unknown` to `key`. The number is halved if both have the same name in different
/// sections, or if both are in the same section and one name contains the other.
fn distance(key: &str, unknown: &str) -> usize {
    let edits = strsim::damerau_levenshtein(key, unknown);
    let (key_section, key_name) = key.rsplit_once('.').unwrap_or(("", key));
    let (section, name) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let is_in_other_section = key_name == name;
    let is_longer_or_shorter = key_section == section && (key_name.contains(name) || name.contains(key_name));
    if is_in_other_section || is_longer_or_shorter { edits / 2 } else { edits }
}

/// Returns the error for a list in the place of a table.
pub(super) fn needs_table(tree: &Tree, path: &[&str]) -> Error {
    Error::invalid(format!("{}: must be {}", tree.key_as_set(path), expected_value(tree, path, "a map")))
}

/// Returns whether serde's description `expected` stands for text.
pub(super) fn is_text(expected: &str) -> bool {
    expected == "a string" || expected == "path string"
}

/// Describes the value that serde expects, in plain words.
fn expected_value(tree: &Tree, path: &[&str], expected: &str) -> String {
    let example = |key: &str| {
        let inner = [path, &[key]].concat();
        match tree.origin(path) {
            Origin::Environment => variable(&inner),
            _ => dotted(&inner),
        }
    };
    match expected {
        text if is_text(text) || text.starts_with("enum ") => text_in_quotes(tree, path),
        "a boolean" => "true or false".to_owned(),
        text if text.contains("socket address") => {
            "an address with a port, such as 127.0.0.1:8080".to_owned()
        }
        text if text.starts_with("struct ") || text == "a map" => {
            let known = tree.keys.first_in(&dotted(path));
            let any = "a table of keys, such as {\"client.id\" = \"shop\"}";
            known.map_or(any.to_owned(), |key| format!("a table of keys, such as {}", example(key)))
        }
        text if text.starts_with("a sequence") => match tree.origin(path) {
            Origin::Environment => "a list, such as [a, b]".to_owned(),
            _ => "a list, such as [\"a\", \"b\"]".to_owned(),
        },
        text if text.starts_with(['i', 'u']) && text[1..].parse::<u8>().is_ok() => {
            "a whole number".to_owned()
        }
        "usize" | "isize" => "a whole number".to_owned(),
        text => text.to_owned(),
    }
}

fn text_in_quotes(tree: &Tree, path: &[&str]) -> String {
    match tree.origin(path) {
        Origin::Environment => {
            "text: put double quotes inside the variable's value, as in '\"text\"'".to_owned()
        }
        _ => "text in quotes".to_owned(),
    }
}
