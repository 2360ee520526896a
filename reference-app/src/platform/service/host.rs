//! The host: what a service receives from the platform when it starts.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::http::Uri;
use comms_core::{
    Error,
    clock::Clock,
    health::{Health, Heartbeat},
    jwt::Verifier,
    resilience::Policy,
    shutdown::ShutdownSignal,
};
use comms_grpc::Channel;
use comms_ws::backplane::{Redis, RedisConfig};
use serde::de::DeserializeOwned;

use super::registration::{Call, Protocol};
use crate::{
    contracts::IDEMPOTENT_METHODS,
    platform::{
        channels::ChannelRegistry, config::Config, db::Db, delivery, identity::Identity, policies::Policies,
        projections::ProjectionRegistry, sagas::SagaRegistry, tls::Tls,
    },
};

/// The time limit of a call whose policy sets none.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The time from the end of a call by its policy to the end by its channel. The breaker of a policy counts a time limit only
/// if it is that of the policy, so the limit of the channel must be the later one.
const MARGIN: Duration = Duration::from_secs(1);

/// The platform, as a service uses it in [`Service::start`](super::Service::start).
pub struct Host<'a> {
    /// The registered name of the service.
    pub name: &'static str,
    /// The registered protocol of the service.
    pub protocol: Option<Protocol>,
    /// The registered calls of the service.
    pub calls: &'static [Call],
    /// The services whose public URL the service gives to clients, as registered.
    pub refers_to: &'static [&'static str],
    /// The configuration.
    pub config: &'a Config,
    /// The addresses of the listeners of this process, by service.
    pub addresses: &'a BTreeMap<&'static str, SocketAddr>,
    /// The database of the service.
    pub database: Option<Db>,
    /// The verifier of tokens, and in development the issuer.
    pub identity: &'a Identity,
    /// The certificates of the services of this process.
    pub tls: &'a Tls,
    /// The policies of this process.
    pub policies: &'a Policies,
    /// The channels of this process, for operators.
    pub channels: &'a ChannelRegistry,
    /// The sagas of this process, for operators.
    pub sagas: &'a SagaRegistry,
    /// The projections of this process, for operators.
    pub projections: &'a ProjectionRegistry,
    /// Readiness and liveness.
    pub health: &'a Health,
    /// Fires when the gRPC listeners begin to drain. A response stream without an end of its own must then end.
    pub drain: &'a ShutdownSignal,
    /// The clock.
    pub clock: &'a Clock,
}

impl Host<'_> {
    /// Reads the service's section of the configuration.
    ///
    /// # Errors
    /// Returns `Invalid` if the section does not fit `T`.
    pub fn section<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.config.section(self.name).read()
    }

    /// Returns the service's database. The database may not be open yet: until then, every use fails with
    /// `NotExecuted`.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no database.
    pub fn db(&self) -> Result<Db, Error> {
        self.database.clone().ok_or_else(|| self.unregistered("a database"))
    }

    /// Returns the liveness heartbeat of a loop of the service, which counts as live until its first turn.
    #[must_use]
    pub fn heartbeat(&self, part: &str) -> Heartbeat {
        delivery::heartbeat(self.config, self.health, part)
    }

    /// Returns a new backplane for a hub of this process, or `None` if Redis is not configured. The service returns it in
    /// [`Serves::Sockets`](super::Serves::Sockets), so that it runs.
    ///
    /// # Errors
    /// Returns `Invalid` if `redis.url` is no address of Redis, and `Misconfigured` if it needs TLS and the process has no
    /// provider of cryptography.
    pub fn backplane(&self) -> Result<Option<Redis>, Error> {
        let Some(redis) = &self.config.redis else { return Ok(None) };
        let config = RedisConfig::new([&redis.url]).prefix(&redis.prefix);
        let backplane = Redis::new(config, self.clock());
        backplane.map(Some).map_err(|error| error.context("redis.url (COMMS_REDIS__URL)"))
    }

    /// Returns the clock of the process.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns the verifier of tokens.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.identity.verifier.clone()
    }

    /// Returns the channel to the service `name`, which connects at the first call.
    ///
    /// Each call runs under the policy of the registered [`Call`]: its attempts, guards and time limit, which is 30 s if the
    /// policy sets none. The policy repeats a call with an [idempotency key](comms_grpc::keyed), a call of one of the
    /// [`IDEMPOTENT_METHODS`], and a call that was provably not executed. So callers add no policy of their own. The time
    /// limit ends response streams, too.
    ///
    /// # Errors
    /// Returns `Internal` if the service did not register the call, and `Invalid` if the URL or the policy is invalid.
    pub fn peer(&self, name: &'static str) -> Result<Channel, Error> {
        if let Some(channel) = self.channels.get(self.name, name) {
            return Ok(channel);
        }
        let call = self.calls.iter().find(|call| call.service == name);
        let call = call.ok_or_else(|| self.unregistered(&format!("a call to {name}")))?;
        let (policy, timeout) = self.policy(call.policy)?;
        let channel = Channel::builder(self.url(name, Protocol::Grpc)?)
            .peer(name)
            .policy(policy)
            .timeout(timeout.saturating_add(MARGIN))
            .idempotent_methods(IDEMPOTENT_METHODS.iter().copied())
            .clock(self.clock());
        let channel = match self.tls.client(self.name, name)? {
            Some(tls) => channel.tls(tls),
            None => channel,
        };
        let channel = channel.build().map_err(|error| error.context(format_args!("{name}.url")))?;
        self.channels.add(self.name, name, channel.clone());
        Ok(channel)
    }

    /// Adds the policy `name`, and returns it with its time limit.
    fn policy(&self, name: &'static str) -> Result<(Policy, Duration), Error> {
        let config = self.config.policies.get(name).cloned();
        let config = config.ok_or_else(|| self.unregistered(&format!("defaults of policies.{name}")))?;
        let timeout = config.timeout.unwrap_or(CALL_TIMEOUT);
        let policy = self.policies.add(name, config.timeout(timeout), self.clock, self.health)?;
        Ok((policy, timeout))
    }

    /// Returns the URL under which clients reach the service `name`.
    ///
    /// # Errors
    /// Returns `Internal` if the service did not register that it refers to `name`, and `Invalid` if the URL of `name`
    /// is not configured and `name` does not run in this process.
    pub fn public_url(&self, name: &'static str) -> Result<String, Error> {
        let protocol = self.config.protocol(name).filter(|_| self.refers_to.contains(&name));
        let protocol = protocol.ok_or_else(|| self.unregistered(&format!("a reference to {name}")))?;
        self.url(name, protocol)
    }

    /// Returns the configured URL under which others reach this service.
    ///
    /// # Errors
    /// Returns `Invalid` if the section cannot be read.
    pub fn configured_url(&self) -> Result<Option<String>, Error> {
        self.config.url(self.name)
    }

    /// Returns the URL under which others reach this service: the configured URL, or else the address of the listener.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no listener, and `Invalid` if the section cannot be read.
    pub fn own_url(&self) -> Result<String, Error> {
        let protocol = self.protocol.ok_or_else(|| self.unregistered("a listener"))?;
        self.url(self.name, protocol)
    }

    /// Returns the origins of the pages that this process serves: the configured URL, the address and `localhost` for
    /// each HTTP listener. A browser on this machine may use any of them.
    #[must_use]
    pub fn own_origins(&self) -> Vec<String> {
        let mut origins = Vec::new();
        let is_http = |name: &str| self.config.protocol(name) == Some(Protocol::Http);
        for (name, address) in self.addresses.iter().filter(|(name, _)| is_http(name)) {
            let hosts = [connectable(*address).to_string(), format!("localhost:{}", address.port())];
            origins.extend(hosts.map(|host| format!("http://{host}")));
            origins.extend(self.config.url(name).ok().flatten().and_then(|url| origin(&url)));
        }
        origins
    }

    /// Returns the configured URL of a service, or else its address in this process.
    fn url(&self, name: &'static str, protocol: Protocol) -> Result<String, Error> {
        let scheme = self.config.scheme(protocol);
        let bound =
            || self.addresses.get(name).map(|address| format!("{scheme}://{}", connectable(*address)));
        let url = self.config.url(name)?.or_else(bound);
        url.ok_or_else(|| {
            Error::invalid(format!("set {name}.url: the service {name} does not run in this process"))
        })
    }

    fn unregistered(&self, what: &str) -> Error {
        Error::internal(format!("service {} uses {what} that it did not register", self.name))
    }
}

/// Returns the origin of `url` in the form that a browser sends.
fn origin(url: &str) -> Option<String> {
    let url = url.parse::<Uri>().ok()?;
    Some(format!("{}://{}", url.scheme_str()?, url.authority()?).to_lowercase())
}

/// Replaces a wildcard address by loopback, because a client cannot connect to a wildcard address.
fn connectable(bound: SocketAddr) -> SocketAddr {
    match bound.ip().to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => (Ipv4Addr::LOCALHOST, bound.port()).into(),
        IpAddr::V6(v6) if v6.is_unspecified() => (Ipv6Addr::LOCALHOST, bound.port()).into(),
        _ => bound,
    }
}
