//! Formats keys for error texts: with dots, and as environment variables.

/// Formats `path` with dots for an error text. A part that is not a plain name is replaced by `…`, because a secret
/// (such as a URL) may be written in the place of a key.
pub(super) fn printable(path: &[&str]) -> String {
    dotted(&hide_unusual(path))
}

fn hide_unusual<'a>(path: &[&'a str]) -> Vec<&'a str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    path.iter().map(|part| if part.len() <= 64 && part.bytes().all(is_plain) { *part } else { "…" }).collect()
}

/// Formats `path` as `order.url`. A part that contains a dot is quoted, as in TOML.
pub(super) fn dotted(path: &[&str]) -> String {
    let part = |part: &&str| if part.contains('.') { format!("{part:?}") } else { (*part).to_owned() };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Returns the environment variable of `path`, such as `COMMS_ORDER__URL`. If the variable is set in another
/// spelling, returns that spelling.
pub(super) fn variable(path: &[&str]) -> String {
    let name = variable_name(path);
    find_variable(|key| name.eq_ignore_ascii_case(key)).unwrap_or(name)
}

/// Returns the environment variable that set `path`: the variable of `path`, or the first variable of a key below it.
pub(super) fn variable_set(path: &[&str]) -> String {
    let name = variable_name(path);
    let below = format!("{name}__");
    find_variable(|key| name.eq_ignore_ascii_case(key))
        .or_else(|| find_variable(|key| key.to_ascii_uppercase().starts_with(&below)))
        .unwrap_or(name)
}

fn variable_name(path: &[&str]) -> String {
    format!("COMMS_{}", hide_unusual(path).join("__").to_uppercase())
}

fn find_variable(matches: impl Fn(&str) -> bool) -> Option<String> {
    std::env::vars_os().filter_map(|(key, _)| key.into_string().ok()).find(|key| matches(key))
}
