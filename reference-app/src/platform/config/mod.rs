//! The configuration: one tree of keys, merged from layers.
//!
//! Later layers override earlier ones: the defaults of the platform and of the services, a TOML file, `COMMS_…`
//! environment variables (`__` separates levels), the command line. Unknown keys are errors.
//!
//! - `load`: reads the layers. `file` and `environment` read one layer each.
//! - `sections`, `servers`: the sections of the platform, as types.
//! - `tree`: the merged layers, and the layer that set each key. `deserialize` reads types from them.
//! - `keys`: the known keys, and those whose values may be printed. `key_names` formats keys.
//! - `validate`: values and combinations that cannot work.
//! - `errors`: the texts of errors. `redact`: the text of `--print-config`.

mod deserialize;
pub(crate) mod duration;
mod environment;
mod errors;
mod file;
mod key_names;
mod keys;
mod load;
mod redact;
mod sections;
mod servers;
mod tree;
mod validate;

use std::{fmt, net::SocketAddr, ops::Deref};

use comms_core::Error;

pub use load::{load, read};
pub use sections::{
    Admin, Auth, Consumer, Health, Listeners, Log, LogFormat, Platform, Profile, RESERVED, Relay, Shutdown,
    Tls, TlsFiles, TlsMode,
};
pub use servers::{Database, Kafka, Redis};

pub use self::tree::Tree;
use super::service::{Protocol, Section, Service, Topic};

/// The whole configuration. Dereferences to the sections of the platform.
#[derive(Clone)]
pub struct Config {
    platform: Platform,
    services: Vec<&'static Service>,
    tree: Tree,
}

impl fmt::Debug for Config {
    /// Prints only the roles, because other values may be secret.
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
    /// Returns every service of the system, including those that do not run in this process.
    #[must_use]
    pub fn services(&self) -> &[&'static Service] {
        &self.services
    }

    /// Returns the services that run in this process.
    pub fn running(&self) -> impl Iterator<Item = &'static Service> {
        self.services.iter().copied().filter(|service| self.runs(service.name))
    }

    /// Returns whether the service `name` runs in this process.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        self.platform.roles.iter().any(|role| role == name)
    }

    /// Returns the protocol of the service `name`, or `None` if the service has no listener or does not exist.
    #[must_use]
    pub fn protocol(&self, name: &str) -> Option<Protocol> {
        self.services.iter().find(|service| service.name == name)?.protocol
    }

    /// Returns the services that registered a call to the service `name`.
    pub fn callers(&self, name: &'static str) -> impl Iterator<Item = &'static str> {
        let calls = move |service: &&&'static Service| service.calls.iter().any(|call| call.service == name);
        self.services.iter().filter(calls).map(|service| service.name)
    }

    /// Returns the scheme of the URL of a listener with `protocol`.
    #[must_use]
    pub fn scheme(&self, protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Grpc if self.tls.mode == TlsMode::Off => "http",
            Protocol::Grpc => "https",
            Protocol::Http => "http",
            Protocol::Sockets => "ws",
        }
    }

    /// Returns the topics of all services.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        self.services.iter().flat_map(|service| service.topics).copied().collect()
    }

    /// Returns the section of the service `name`.
    #[must_use]
    pub fn section(&self, name: &'static str) -> Section {
        Section::new(name, self.tree.clone())
    }

    /// Returns the configured listener address of the service `name`.
    ///
    /// # Errors
    /// Returns `Invalid` if the section cannot be read or has no `listen`.
    pub fn listen(&self, name: &'static str) -> Result<SocketAddr, Error> {
        let listen = self.section(name).common()?.listen;
        listen.ok_or_else(|| {
            let text =
                format!("{name}.listen is missing: set it to an address with a port, such as 127.0.0.1:8080");
            Error::invalid(text)
        })
    }

    /// Returns the configured URL of the service `name`. A trailing slash is removed, so that paths can be appended.
    ///
    /// # Errors
    /// Returns `Invalid` if the section cannot be read.
    pub fn url(&self, name: &'static str) -> Result<Option<String>, Error> {
        let url = self.section(name).common()?.url;
        Ok(url.map(|url| url.trim_end_matches('/').to_owned()))
    }

    /// Returns the `Invalid` error for the value at `key`. The error names the key in the form in which it was set.
    fn refusal(&self, key: &[&str], text: &str) -> Error {
        Error::invalid(format!("{}: {text}", self.tree.key_as_set(key)))
    }
}

#[cfg(test)]
mod tests;
