//! Reads the layers of the configuration.

use std::path::Path;

use comms_core::Error;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::Serialize;

use super::{Config, Profile};

/// The defaults, as a file would say them. Every key of the tree is here or is optional.
const DEFAULTS: &str = include_str!("defaults.toml");

/// Loads the tree for `profile`: defaults, `file`, environment, `overrides` (the command line).
///
/// # Errors
/// `Invalid`, naming the key and where it was found, for an unknown key or a value of the wrong type.
pub fn load(
    profile: Option<Profile>,
    file: Option<&Path>,
    overrides: impl Serialize,
) -> Result<Config, Error> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(file) = file {
        if !file.is_file() {
            return Err(Error::invalid(format!("configuration file {} is not there", file.display())));
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    // COMMS_TEST_… belongs to the tests of this workspace, not to the product.
    let env = Env::prefixed("COMMS_").filter(|key| !key.starts_with("test_")).split("__");
    figment = figment.merge(env).merge(Serialized::globals(overrides));
    if let Some(profile) = profile {
        figment = figment.merge(Serialized::global("profile", profile));
    }
    let config: Config =
        figment.extract().map_err(|e| Error::invalid(e.to_string()).context("configuration"))?;
    config.validate().map_err(|e| e.context("configuration"))?;
    Ok(config)
}
