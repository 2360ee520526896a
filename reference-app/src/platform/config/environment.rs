//! The layer of `COMMS_…` variables.

use std::{collections::BTreeMap, env, ffi::OsString};

use comms_core::Error;
use figment::providers::Env;

const PREFIX: &str = "COMMS_";
/// What the port of a service begins with, where Kubernetes sets it.
const SCHEMES: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// The variables that are keys of the configuration. `COMMS_TEST_…` belongs to the tests of this workspace, and
/// Kubernetes sets variables for every service of the namespace whose name begins with `comms`.
pub(super) fn layer() -> Env {
    let links = service_links();
    let own = move |key: &str| !key.starts_with("test_") && !links.iter().any(|link| is_of_link(link, key));
    Env::prefixed(PREFIX).filter(move |key| own(&key.as_str().to_lowercase())).split("__")
}

/// A variable that cannot be read must not be skipped: without `COMMS_DATABASE__URL` the program would run on SQLite.
///
/// # Errors
/// Returns `Invalid` with the name alone, for a variable that is not UTF-8 and for a name with an empty part.
pub(super) fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
    for (name, value) in variables {
        let shown = name.to_string_lossy();
        let key =
            shown.split_at_checked(PREFIX.len()).filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX));
        let Some((_, key)) = key.filter(|(_, key)| !key.to_ascii_lowercase().starts_with("test_")) else {
            continue;
        };
        if name.to_str().is_none() || value.to_str().is_none() {
            return Err(Error::invalid(format!("{shown}: the variable is not UTF-8 text")));
        }
        if key.split("__").any(str::is_empty) {
            return Err(Error::invalid(format!("unknown key {shown}: a part of its name is empty")));
        }
    }
    Ok(())
}

/// The text of the variable of the key at `path`, as it was written.
pub(super) fn text(path: &[&str]) -> Option<String> {
    let name = format!("{PREFIX}{}", path.join("__"));
    variables().find(|(key, _)| key.eq_ignore_ascii_case(&name)).map(|(_, text)| text.trim().to_owned())
}

/// The beginnings of the variables that Kubernetes sets for services, in lower case and without `COMMS_`: `""` for a
/// service `comms`, `gateway_` for `comms-gateway`. Each has at least `…SERVICE_HOST`, and `…PORT` with a URL, which no
/// setting has: a misspelt setting is not taken for one of them.
fn service_links() -> Vec<String> {
    let own = variables().filter_map(|(name, text)| {
        Some((name.to_lowercase().strip_prefix(&PREFIX.to_lowercase())?.to_owned(), text))
    });
    let own: BTreeMap<String, String> = own.collect();
    let links = own.keys().filter_map(|name| name.strip_suffix("service_host"));
    let has_port = |link: &&str| {
        let port = own.get(&format!("{link}port"));
        port.is_some_and(|port| SCHEMES.iter().any(|scheme| port.starts_with(scheme)))
    };
    links.filter(has_port).map(str::to_owned).collect()
}

fn is_of_link(link: &str, key: &str) -> bool {
    let rest = key.strip_prefix(link).unwrap_or_default();
    ["service_host", "port"].contains(&rest) || rest.starts_with("port_") || rest.starts_with("service_port")
}

fn variables() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_variable_that_cannot_be_read_is_refused_by_name_alone() {
        let check = |name: &[u8], value: &[u8]| {
            let variable = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
            super::check([variable].into_iter()).map_err(|error| error.chain().to_string())
        };
        for (name, value) in
            [(&b"COMMS_LOG__FILTER"[..], &b"info"[..]), (b"OTHER", b"\xff"), (b"COMMS_TEST_X", b"\xff")]
        {
            check(name, value).unwrap();
        }
        let error = check(b"COMMS_DATABASE__URL", b"postgres://shop:hunter2\xff@db").unwrap_err();
        assert!(
            error.contains("COMMS_DATABASE__URL: the variable is not UTF-8") && !error.contains("hunter2"),
            "{error}"
        );
        for name in [&b"COMMS_"[..], b"COMMS_GATEWAY__", b"comms___listen"] {
            assert!(check(name, b"x").unwrap_err().contains("is empty"), "{name:?}");
        }
        assert!(check(b"COMMS_LOG__\xff", b"x").unwrap_err().contains("UTF-8"));
    }
}
