//! The section of a service in the configuration.

use std::net::SocketAddr;

use comms_core::Error;
use serde::{Deserialize, de::DeserializeOwned};

use crate::platform::config::Tree;

/// The keys that the platform reads in the section of each service. A service does not read them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Common {
    /// The address of the listener; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// The URL under which others reach the service. Without it, the address of the listener in this process.
    pub url: Option<String>,
}

const COMMON: [&str; 2] = ["listen", "url"];

/// The section `[<name>]` of the configuration.
pub struct Section {
    name: &'static str,
    tree: Tree,
}

impl Section {
    /// The section `name` of `tree`.
    #[must_use]
    pub const fn new(name: &'static str, tree: Tree) -> Self {
        Self { name, tree }
    }

    /// Reads the keys of the service's own.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and for a value of the wrong type, with the key and the place where it was
    /// found.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.tree.section(self.name, &COMMON)
    }

    /// Reads the keys of the platform.
    ///
    /// # Errors
    /// Returns `Invalid` for a value of the wrong type.
    pub fn common(&self) -> Result<Common, Error> {
        self.tree.section(self.name, &[])
    }

    /// The refusal of the value of `key`, which is named as its user has written it: `text` begins with "must".
    #[must_use]
    pub fn refusal(&self, key: &str, text: &str) -> Error {
        Error::invalid(format!("{}: {text}", self.tree.written(&[self.name, key])))
    }
}

/// A section without keys of the service's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The check of a section without keys of the service's own.
///
/// # Errors
/// Those of [`Section::read`].
pub fn no_settings(section: &Section) -> Result<(), Error> {
    section.read::<Nothing>().map(drop)
}
