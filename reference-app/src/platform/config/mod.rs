//! One configuration tree: the defaults of the platform and of the services, then a TOML file, then `COMMS_…` environment
//! variables with `__` between levels, then the command line. Unknown keys are refused.

mod addresses;
pub(crate) mod duration;
mod environment;
mod explain;
mod keys;
mod load;
mod names;
mod redact;
mod sections;
mod tree;
mod validate;
mod values;

use std::{fmt, net::SocketAddr, ops::Deref};

use comms_core::Error;

pub use load::{load, read};
pub use sections::{
    Admin, Auth, Consumer, Database, Health, Kafka, Listeners, Log, LogFormat, Platform, Profile, Relay,
    Shutdown,
};

pub use self::tree::Tree;
use super::service::{Section, Service, Topic};

/// The sections of the platform. No service has such a name.
pub const RESERVED: [&str; 14] = [
    "profile",
    "roles",
    "data_dir",
    "shutdown",
    "log",
    "listeners",
    "admin",
    "health",
    "database",
    "kafka",
    "auth",
    "relay",
    "consumer",
    "policies",
];

/// The whole configuration. It dereferences to the sections of the platform.
#[derive(Clone)]
pub struct Config {
    platform: Platform,
    services: Vec<&'static Service>,
    tree: Tree,
}

impl fmt::Debug for Config {
    /// Names the roles alone: the values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("roles", &self.platform.roles).finish_non_exhaustive()
    }
}

impl Deref for Config {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        &self.platform
    }
}

impl Config {
    /// Every service of the system, in this process or not.
    #[must_use]
    pub fn services(&self) -> &[&'static Service] {
        &self.services
    }

    /// The services of this process.
    pub fn running(&self) -> impl Iterator<Item = &'static Service> {
        self.services.iter().copied().filter(|service| self.runs(service.name))
    }

    /// Whether the service `name` runs in this process.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        self.platform.roles.iter().any(|role| role == name)
    }

    /// The topics of all services.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        self.services.iter().flat_map(|service| service.topics).copied().collect()
    }

    /// The section of the service `name`.
    #[must_use]
    pub fn section(&self, name: &'static str) -> Section {
        Section::new(name, self.tree.clone())
    }

    /// The configured address of the listener of the service `name`.
    ///
    /// # Errors
    /// Returns `Invalid` if the section has no such address.
    pub fn listen(&self, name: &'static str) -> Result<SocketAddr, Error> {
        let listen = self.section(name).common()?.listen;
        listen.ok_or_else(|| Error::invalid(format!("set {name}.listen: the service has a listener")))
    }

    /// The configured URL of the service `name`, without a slash at its end: paths are appended to it.
    ///
    /// # Errors
    /// Returns `Invalid` if the section cannot be read.
    pub fn url(&self, name: &'static str) -> Result<Option<String>, Error> {
        let url = self.section(name).common()?.url;
        Ok(url.map(|url| url.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests;
