//! Reads the layers of the configuration.

use std::{ffi::OsString, path::Path};

use comms_core::Error;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::Serialize;

use super::{
    Config, Profile, RESERVED, explain,
    tree::{self, Place, Tree},
};
use crate::platform::service::Service;

/// The defaults of the platform, as a file would have them. Every key of the tree is there or is optional.
const DEFAULTS: &str = include_str!("defaults.toml");
/// What the profile `full` changes in them.
const FULL: &str = include_str!("full.toml");

/// Loads the configuration of `services`: defaults, those of the profile, `file`, environment, `overrides` (the command
/// line). `profile` is that of the command line.
///
/// # Errors
/// Returns `Invalid` for an unknown key, a value of the wrong type and a combination that cannot work, with the key as it
/// was written and the place. The value of a key that may be secret is not repeated.
pub fn load(
    services: &[&'static Service],
    profile: Option<Profile>,
    file: Option<&Path>,
    overrides: impl Serialize,
) -> Result<Config, Error> {
    let config = read(services, profile, file, overrides)?;
    config.validate().map_err(|error| error.context("configuration"))?;
    Ok(config)
}

/// Reads the configuration as [`load`] does, without a check of what it says: for commands that start no role.
///
/// # Errors
/// Returns `Invalid` for an unknown key and a value of the wrong type.
pub fn read(
    services: &[&'static Service],
    profile: Option<Profile>,
    file: Option<&Path>,
    overrides: impl Serialize,
) -> Result<Config, Error> {
    merge(services, profile, file, overrides).map_err(|error| error.context("configuration"))
}

fn merge(
    services: &[&'static Service],
    profile: Option<Profile>,
    file: Option<&Path>,
    overrides: impl Serialize,
) -> Result<Config, Error> {
    let mut layers = Vec::new();
    if let Some(file) = file {
        layers.push((Place::File(file.display().to_string()), Figment::from(tree::file(file)?)));
    }
    check_variables(std::env::vars_os())?;
    // COMMS_TEST_… belongs to the tests of this workspace, not to the product.
    let env = Env::prefixed("COMMS_").filter(|key| !key.starts_with("test_")).split("__");
    layers.push((Place::Environment, Figment::from(env)));
    let mut arguments = Figment::from(Serialized::defaults(overrides));
    if let Some(profile) = profile {
        arguments = arguments.merge(Serialized::default("profile", profile));
    }
    layers.push((Place::CommandLine, arguments));
    layers.insert(0, (Place::Defaults, defaults(services, Profile::Embedded)));
    let tree = Tree::merge(services, layers.clone())?;
    let profile = tree.section("profile", &[])?;
    layers[0].1 = defaults(services, profile);
    let tree = Tree::merge(services, layers)?;

    let known = || RESERVED.into_iter().chain(services.iter().map(|service| service.name));
    if let Some(key) = tree.root().keys().find(|key| !known().any(|known| known == *key)) {
        let sections: Vec<Vec<&str>> = known().map(|section| vec![section]).collect();
        let path = match tree.place(&[key]) {
            Place::Environment => tree.first_value(key),
            _ => vec![key.as_str()],
        };
        return Err(explain::unknown(&tree, &path, &sections));
    }
    if let Some(path) = tree.list_for_table() {
        return Err(explain::needs_table(&tree, &path));
    }
    Ok(Config { platform: tree.read()?, services: services.to_vec(), tree })
}

/// A variable that cannot be read must not be skipped: without `COMMS_DATABASE__URL` the program would run on SQLite.
fn check_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
    for (name, value) in variables {
        let shown = name.to_string_lossy();
        let key = shown
            .split_at_checked("COMMS_".len())
            .filter(|(prefix, _)| prefix.eq_ignore_ascii_case("COMMS_"));
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

fn defaults(services: &[&'static Service], profile: Profile) -> Figment {
    let names: Vec<_> = services.iter().map(|service| service.name).collect();
    let mut defaults = Figment::from(Toml::string(DEFAULTS)).merge(Serialized::default("roles", &names));
    if profile == Profile::Full {
        defaults = defaults.merge(Toml::string(FULL));
    }
    services.iter().fold(defaults, |defaults, service| defaults.merge(Toml::string(service.defaults)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_variable_that_cannot_be_read_is_refused_by_name_alone() {
        let check = |name: &[u8], value: &[u8]| {
            let variable = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
            check_variables([variable].into_iter()).map_err(|error| error.chain().to_string())
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
