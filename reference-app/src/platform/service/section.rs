//! A service's section of the configuration.

use std::net::SocketAddr;

use comms_core::Error;
use serde::{Deserialize, de::DeserializeOwned};

use crate::platform::config::Tree;

/// The keys that the platform reads in the section of each service. Services do not read these keys.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Common {
    /// The address of the listener. Port 0 picks a free port.
    pub listen: Option<SocketAddr>,
    /// The URL under which others reach the service. Default: the address of the listener in this process.
    pub url: Option<String>,
}

const COMMON: [&str; 2] = ["listen", "url"];

/// The section `[<name>]` of the configuration.
pub struct Section {
    name: &'static str,
    tree: Tree,
}

impl Section {
    /// Creates the section `name` of `tree`.
    #[must_use]
    pub const fn new(name: &'static str, tree: Tree) -> Self {
        Self { name, tree }
    }

    /// Reads the keys that belong to the service itself.
    ///
    /// # Errors
    /// Returns `Invalid` for an unknown key and for a value of the wrong type. The error names the key and where it
    /// was set.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.tree.section(self.name, &COMMON)
    }

    /// Reads the keys that belong to the platform.
    ///
    /// # Errors
    /// Returns `Invalid` for a value of the wrong type.
    pub fn common(&self) -> Result<Common, Error> {
        self.tree.section(self.name, &[])
    }

    /// Returns the `Invalid` error for the value of `key`, with `.` before the key of an inner table. The error names the
    /// key in the form in which it was set. `text` begins with "must".
    #[must_use]
    pub fn refusal(&self, key: &str, text: &str) -> Error {
        let path: Vec<&str> = [self.name].into_iter().chain(key.split('.')).collect();
        Error::invalid(format!("{}: {text}", self.tree.key_as_set(&path)))
    }
}

/// A section without keys that belong to the service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// Checks a section that has no keys besides those of the platform.
///
/// # Errors
/// Returns `Invalid` for any other key, as [`Section::read`] does.
pub fn no_settings(section: &Section) -> Result<(), Error> {
    section.read::<NoKeys>().map(drop)
}
