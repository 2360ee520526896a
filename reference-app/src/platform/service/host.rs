//! What the platform gives to a service that starts.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::http::Uri;
use comms_core::{Error, clock::Clock, health::Health, jwt::Verifier, resilience::Policy};
use comms_grpc::Channel;
use serde::de::DeserializeOwned;

use super::{Protocol, Service};
use crate::platform::{config::Config, db::Db, identity::Identity, policies::Policies};

/// The longest a call may take where its policy sets no limit.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The platform, as a service sees it in [`Service::start`].
pub struct Host<'a> {
    /// The service that starts.
    pub service: &'a Service,
    /// Every service of the system.
    pub services: &'a [&'static Service],
    /// The configuration.
    pub config: &'a Config,
    /// The listeners of this process, by service.
    pub addresses: &'a BTreeMap<&'static str, SocketAddr>,
    /// The database of the service.
    pub database: Option<Db>,
    /// Tokens: the verifier, and the issuer in development.
    pub identity: &'a Identity,
    /// The policies of this process.
    pub policies: &'a Policies,
    /// Readiness and liveness.
    pub health: &'a Health,
    /// The clock.
    pub clock: &'a Clock,
}

/// Another service, and the policy of the calls to it.
pub struct Peer {
    /// The channel; it connects at the first call.
    pub channel: Channel,
    /// The policy that every call runs under.
    pub policy: Policy,
}

impl Host<'_> {
    /// The section of the service.
    ///
    /// # Errors
    /// Returns `Invalid` if the section does not fit `T`.
    pub fn section<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.config.section(self.service.name).read()
    }

    /// The database of the service. It may not be open yet: calls fail as `NotExecuted` until it is.
    ///
    /// # Errors
    /// Returns `Internal` if the service has registered none.
    pub fn db(&self) -> Result<Db, Error> {
        self.database.clone().ok_or_else(|| self.undeclared("a database"))
    }

    /// The clock of the process.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The verifier of tokens.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.identity.verifier.clone()
    }

    /// The service `name`, with the policy of the calls to it.
    ///
    /// # Errors
    /// Returns `Internal` if the service has not registered the call, and `Invalid` for a URL or a policy that cannot work.
    pub fn peer(&self, name: &'static str) -> Result<Peer, Error> {
        let call = self.service.calls.iter().find(|call| call.service == name);
        let call = call.ok_or_else(|| self.undeclared(&format!("a call to {name}")))?;
        let channel = Channel::builder(self.url(name, Protocol::Grpc.scheme())?)
            .peer(name)
            .timeout(CALL_LIMIT)
            .clock(self.clock())
            .build()
            .map_err(|error| error.context(format_args!("{name}.url")))?;
        if let Some(policy) = self.policies.get(call.policy) {
            return Ok(Peer { channel, policy });
        }
        let config = self.config.policies.get(call.policy).cloned();
        let config =
            config.ok_or_else(|| self.undeclared(&format!("defaults of policies.{}", call.policy)))?;
        Ok(Peer { channel, policy: self.policies.add(call.policy, config, self.clock, self.health)? })
    }

    /// The URL under which clients reach the service `name`.
    ///
    /// # Errors
    /// Returns `Internal` if the service has not registered that it refers to `name`.
    pub fn public_url(&self, name: &'static str) -> Result<String, Error> {
        let other = self.services.iter().find(|other| other.name == name);
        let protocol =
            other.and_then(|other| other.protocol).filter(|_| self.service.refers_to.contains(&name));
        let protocol = protocol.ok_or_else(|| self.undeclared(&format!("a reference to {name}")))?;
        self.url(name, protocol.scheme())
    }

    /// The configured URL under which others reach this service.
    ///
    /// # Errors
    /// Returns `Invalid` if the section cannot be read.
    pub fn configured_url(&self) -> Result<Option<String>, Error> {
        self.config.url(self.service.name)
    }

    /// The URL under which others reach this service: the configured one, otherwise the address of its listener.
    ///
    /// # Errors
    /// Returns `Internal` if the service has no listener.
    pub fn own_url(&self) -> Result<String, Error> {
        let protocol = self.service.protocol.ok_or_else(|| self.undeclared("a listener"))?;
        self.url(self.service.name, protocol.scheme())
    }

    /// The origins of the pages that this process serves: those of the configured URLs, and those of this machine, which
    /// a browser calls by any of its names.
    #[must_use]
    pub fn own_origins(&self) -> Vec<String> {
        let mut origins = Vec::new();
        for service in self.services.iter().filter(|service| service.protocol == Some(Protocol::Http)) {
            let Some(address) = self.addresses.get(service.name) else { continue };
            let hosts = [reachable(*address).to_string(), format!("localhost:{}", address.port())];
            origins.extend(hosts.map(|host| format!("http://{host}")));
            origins.extend(self.config.url(service.name).ok().flatten().and_then(|url| origin(&url)));
        }
        origins
    }

    /// The configured URL of a service, otherwise its address in this process.
    fn url(&self, name: &'static str, scheme: &str) -> Result<String, Error> {
        let bound = || self.addresses.get(name).map(|bound| format!("{scheme}://{}", reachable(*bound)));
        let url = self.config.url(name)?.or_else(bound);
        url.ok_or_else(|| Error::invalid(format!("set {name}.url: the role {name} is not in this process")))
    }

    fn undeclared(&self, what: &str) -> Error {
        Error::internal(format!("service {} uses {what}, and has not registered it", self.service.name))
    }
}

/// The origin of `url`, as a browser sends it.
fn origin(url: &str) -> Option<String> {
    let url = url.parse::<Uri>().ok()?;
    Some(format!("{}://{}", url.scheme_str()?, url.authority()?).to_lowercase())
}

/// The address under which this process reaches its own listener: a wildcard address is none to connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip().to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => (Ipv4Addr::LOCALHOST, bound.port()).into(),
        IpAddr::V6(v6) if v6.is_unspecified() => (Ipv6Addr::LOCALHOST, bound.port()).into(),
        _ => bound,
    }
}
