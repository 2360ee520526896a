//! The names of keys, as people write them.

/// `path` as a text for people. A part that is no plain name is not repeated: a URL may stand where a key belongs.
pub(super) fn shown(path: &[&str]) -> String {
    dotted(&plain(path))
}

fn plain<'a>(path: &[&'a str]) -> Vec<&'a str> {
    let named = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    path.iter().map(|part| if part.len() <= 64 && part.bytes().all(named) { *part } else { "…" }).collect()
}

/// `order.url`; a part with a dot is quoted, as TOML has it.
pub(super) fn dotted(path: &[&str]) -> String {
    let part = |part: &&str| if part.contains('.') { format!("{part:?}") } else { (*part).to_owned() };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// `COMMS_ORDER__URL`, in the spelling of the environment if it is there.
pub(super) fn variable(path: &[&str]) -> String {
    let name = upper(path);
    in_environment(|key| name.eq_ignore_ascii_case(key)).unwrap_or(name)
}

/// The variable that has set `path`: its own, or the first one below it.
pub(super) fn written_variable(path: &[&str]) -> String {
    let name = upper(path);
    let below = format!("{name}__");
    in_environment(|key| name.eq_ignore_ascii_case(key))
        .or_else(|| in_environment(|key| key.to_ascii_uppercase().starts_with(&below)))
        .unwrap_or(name)
}

fn upper(path: &[&str]) -> String {
    format!("COMMS_{}", plain(path).join("__").to_uppercase())
}

fn in_environment(is_it: impl Fn(&str) -> bool) -> Option<String> {
    std::env::vars_os().filter_map(|(key, _)| key.into_string().ok()).find(|key| is_it(key))
}
