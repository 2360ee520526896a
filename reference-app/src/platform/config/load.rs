//! Reads the layers of the configuration.

use std::path::Path;

use comms_core::Error;
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use serde::Serialize;

use super::{
    Config, Profile, RESERVED, environment, errors, file,
    tree::{Origin, Tree},
};
use crate::platform::service::Service;

/// The defaults of the platform. Every key of the platform's sections has a default here or is optional.
const DEFAULTS: &str = include_str!("defaults.toml");
/// The defaults that the profile `full` overrides.
const FULL: &str = include_str!("full.toml");

/// Loads and validates the configuration of `services`. The layers, each overriding the one before: the defaults, the
/// defaults of the profile, `file`, the environment, `overrides` (the command line). `profile` is the profile of the
/// command line.
///
/// # Errors
/// Returns `Invalid` for an unknown key, for a value of the wrong type and for a combination that cannot work. The
/// error names the key in the form in which it was set, and never contains the value of a key that may be secret.
/// Returns `Internal` if the registrations of `services` violate a rule.
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

/// Reads the configuration as [`load`] does, without validating its values. For commands that start no role.
///
/// # Errors
/// Returns `Invalid` for an unknown key and for a value of the wrong type.
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
    path: Option<&Path>,
    overrides: impl Serialize,
) -> Result<Config, Error> {
    let mut layers = Vec::new();
    if let Some(path) = path {
        layers.push((Origin::File(path.display().to_string()), Figment::from(file::read(path)?)));
    }
    environment::check(std::env::vars_os())?;
    layers.push((Origin::Environment, Figment::from(environment::layer())));
    let mut arguments = Figment::from(Serialized::defaults(overrides));
    if let Some(profile) = profile {
        arguments = arguments.merge(Serialized::default("profile", profile));
    }
    layers.push((Origin::CommandLine, arguments));
    layers.insert(0, (Origin::Defaults, defaults(services, Profile::Embedded)));
    // The profile decides about the defaults, so merge once to find it and once more with its defaults.
    let tree = Tree::merge(services, layers.clone())?;
    let profile = tree.section("profile", &[])?;
    layers[0].1 = defaults(services, profile);
    let mut tree = Tree::merge(services, layers)?;

    let known = || RESERVED.into_iter().chain(services.iter().map(|service| service.name));
    if let Some(key) = tree.root().keys().find(|key| !known().any(|known| known == *key)) {
        let sections: Vec<Vec<&str>> = known().map(|section| vec![section]).collect();
        let path = match tree.origin(&[key]) {
            Origin::Environment => tree.first_value(key),
            _ => vec![key.as_str()],
        };
        return Err(errors::unknown(&tree, &path, &sections));
    }
    if let Some(path) = tree.list_in_place_of_table() {
        return Err(errors::needs_table(&tree, &path));
    }
    Ok(Config { platform: tree.read_with_text()?, services: services.to_vec(), tree })
}

fn defaults(services: &[&'static Service], profile: Profile) -> Figment {
    let names: Vec<_> = services.iter().map(|service| service.name).collect();
    let mut defaults = Figment::from(Toml::string(DEFAULTS)).merge(Serialized::default("roles", &names));
    if profile == Profile::Full {
        defaults = defaults.merge(Toml::string(FULL));
    }
    services.iter().fold(defaults, |defaults, service| defaults.merge(Toml::string(service.defaults)))
}
