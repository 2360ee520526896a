//! Reads the layers of the configuration.

use std::path::Path;

use comms_core::Error;
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use serde::Serialize;

use super::{
    Config, Profile, RESERVED, environment, explain,
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
    environment::check(std::env::vars_os())?;
    layers.push((Place::Environment, Figment::from(environment::layer())));
    let mut arguments = Figment::from(Serialized::defaults(overrides));
    if let Some(profile) = profile {
        arguments = arguments.merge(Serialized::default("profile", profile));
    }
    layers.push((Place::CommandLine, arguments));
    layers.insert(0, (Place::Defaults, defaults(services, Profile::Embedded)));
    let tree = Tree::merge(services, layers.clone())?;
    let profile = tree.section("profile", &[])?;
    layers[0].1 = defaults(services, profile);
    let mut tree = Tree::merge(services, layers)?;

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
    Ok(Config { platform: tree.settle()?, services: services.to_vec(), tree })
}

fn defaults(services: &[&'static Service], profile: Profile) -> Figment {
    let names: Vec<_> = services.iter().map(|service| service.name).collect();
    let mut defaults = Figment::from(Toml::string(DEFAULTS)).merge(Serialized::default("roles", &names));
    if profile == Profile::Full {
        defaults = defaults.merge(Toml::string(FULL));
    }
    services.iter().fold(defaults, |defaults, service| defaults.merge(Toml::string(service.defaults)))
}
