//! Reads the layer of `COMMS_…` environment variables, and ignores those that Kubernetes sets for services.

use std::{collections::BTreeMap, env, ffi::OsString};

use comms_core::Error;
use figment::providers::Env;

const PREFIX: &str = "COMMS_";
/// The prefixes of the value of a `…PORT` variable that Kubernetes sets for a service.
const SCHEMES: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// Returns the variables that are keys of the configuration. Ignores `COMMS_TEST_…`, which belongs to the tests of
/// this workspace, and the variables that Kubernetes sets for each service of the namespace whose name begins with
/// `comms`.
pub(super) fn layer() -> Env {
    let links = service_links();
    let is_key =
        move |key: &str| !key.starts_with("test_") && !links.iter().any(|link| belongs_to_link(link, key));
    Env::prefixed(PREFIX).filter(move |key| is_key(&key.as_str().to_lowercase())).split("__")
}

/// Checks that every `COMMS_…` variable can be read. A variable must not be skipped: without `COMMS_DATABASE__URL`
/// the program would use SQLite.
///
/// # Errors
/// Returns `Invalid` for a variable that is not UTF-8 and for a name with an empty part. The error contains only the
/// name.
pub(super) fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
    for (name, value) in variables {
        let shown = name.to_string_lossy();
        let key =
            shown.split_at_checked(PREFIX.len()).filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX));
        let Some((_, key)) = key.filter(|(_, key)| !key.to_ascii_lowercase().starts_with("test_")) else {
            continue;
        };
        if name.to_str().is_none() || value.to_str().is_none() {
            return Err(Error::invalid(format!("{shown}: the variable is not valid UTF-8")));
        }
        if key.split("__").any(str::is_empty) {
            return Err(Error::invalid(format!(
                "unknown key {shown}: a part of the name between `__` is empty"
            )));
        }
    }
    Ok(())
}

/// Returns the value of the environment variable of `path` as text, without surrounding white space.
pub(super) fn text(path: &[&str]) -> Option<String> {
    let name = format!("{PREFIX}{}", path.join("__"));
    variables().find(|(key, _)| key.eq_ignore_ascii_case(&name)).map(|(_, text)| text.trim().to_owned())
}

/// Returns the prefixes of the variables that Kubernetes sets for services, in lowercase and without `COMMS_`: `""`
/// for a service `comms`, `gateway_` for `comms-gateway`. Kubernetes sets at least `…SERVICE_HOST`, and `…PORT` with
/// a URL. No setting has both, so a misspelled setting is not mistaken for one of these variables.
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

fn belongs_to_link(link: &str, key: &str) -> bool {
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
    fn an_unreadable_variable_is_refused_without_its_value() {
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
            error.contains("COMMS_DATABASE__URL: the variable is not valid UTF-8")
                && !error.contains("hunter2"),
            "{error}"
        );
        for name in [&b"COMMS_"[..], b"COMMS_GATEWAY__", b"comms___listen"] {
            assert!(check(name, b"x").unwrap_err().contains("is empty"), "{name:?}");
        }
        assert!(check(b"COMMS_LOG__\xff", b"x").unwrap_err().contains("UTF-8"));
    }
}
