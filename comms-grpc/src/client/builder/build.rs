//! Checks the settings and creates the channel.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use comms_core::{
    Error,
    resilience::{BulkheadConfig, OutlierDetector, Policy, PolicyConfig},
};
use http::Uri;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::{ChannelBuilder, Guarding, defaults, target::Target};
use crate::client::{
    Channel, Core,
    attempt::{Attempts, Shared},
    balance::{Balancer, EndpointSet, ResolverSettings, start_resolver, system_lookup},
    connect::Connector,
    endpoint::{Endpoint, HealthCheck, Settings},
    methods::{Defaults, Methods},
    retry::ByEvidence,
    task::Task,
};

/// The longest timeout, about three years: adding it to an instant of the clock does not overflow.
const LONGEST: Duration = Duration::from_secs(99_999_999);
/// The default bound on calls in flight.
const CALLS_IN_FLIGHT: u32 = 1_024;

impl ChannelBuilder {
    /// Creates the channel. The first call opens the connection. The current tokio runtime drives the connections.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if:
    /// - a URI is not `http://host:port` (`https://host:port` with TLS), or further [`endpoints`](Self::endpoints) are set together with
    ///   [`resolve`](Self::resolve);
    /// - [`timeout`](Self::timeout), [`connect_timeout`](Self::connect_timeout) or the interval of
    ///   [`resolve`](Self::resolve) is zero;
    /// - [`keep_alive`](Self::keep_alive) or [`keep_alive_timeout`](Self::keep_alive_timeout) is below its minimum;
    /// - [`endpoint_policy`](Self::endpoint_policy) is invalid or has other settings than a breaker and a bulkhead;
    /// - [`service_config`](Self::service_config) is not valid;
    /// - the path of a method does not begin with `/`, or a [`hedge`](Self::hedge) is invalid or its policy has no retry
    ///   budget;
    /// - [`outliers`](Self::outliers) is invalid;
    /// - no tokio runtime is current.
    ///
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the certificates of TLS cannot be
    /// loaded, or no cryptography provider is installed.
    pub fn build(mut self) -> Result<Channel, Error> {
        let scheme = self.scheme();
        let targets =
            self.uris.iter().map(|uri| Target::parse(uri, scheme)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = targets.first().cloned() else { return Err(Error::invalid("no URI")) };
        let (authority, peer) = (first.authority().clone(), self.peer.clone());
        let peer: Arc<str> = peer.unwrap_or_else(|| authority.to_string()).into();
        let runtime = self
            .check(&targets)
            .map_err(|error| error.context(format_args!("gRPC channel to {authority}")))?;
        let (policy, policy_has_timeout) = self.call_policy(&peer)?;
        let connector =
            self.connector().map_err(|e| e.context(format_args!("gRPC channel to {authority}")))?;
        let several = targets.len() > 1 || self.resolve.is_some();
        let (config, fixed) = self
            .read_service_config(several)
            .map_err(|error| error.context(format_args!("gRPC channel to {authority}")))?;
        let settings = self.endpoint_settings(&peer, several, connector, runtime)?;
        let balancer = self.balancer(targets, first, settings);
        let shared = Shared {
            balancer,
            peer: peer.clone(),
            forwards_credentials: self.forwards_credentials,
            clock: self.clock.clone(),
        };
        let attempts = Attempts::new(shared);
        let defaults = Defaults {
            attempts: attempts.clone(),
            classify: ByEvidence { peer: peer.clone(), retryable: None },
            policy: policy.clone(),
            policy_has_timeout,
            timeout: self.timeout.min(LONGEST),
            wait_for_ready: self.wait_for_ready,
            clock: self.clock.clone(),
        };
        let methods = Methods::new(defaults, self.methods, config)
            .map_err(|error| error.context(format_args!("gRPC channel to {authority}")))?;
        let core = Core {
            peer,
            methods,
            attempts,
            policy,
            fixed,
            replay_limit: self.replay_limit,
            forwards_credentials: self.forwards_credentials,
            clock: self.clock,
        };
        Ok(Channel::new(core))
    }

    fn check(&self, targets: &[Target]) -> Result<Handle, Error> {
        let intervals = [self.timeout, self.connect_timeout, self.resolve.unwrap_or(LONGEST)];
        if intervals.iter().any(Duration::is_zero) {
            return Err(Error::invalid(
                "timeout, connect_timeout and the interval of resolve must be longer than zero",
            ));
        }
        if self.resolve.is_some() && targets.len() > 1 {
            return Err(Error::invalid("set either resolve or endpoints: resolve takes the host of one URI"));
        }
        self.keep_alive.check()?;
        self.endpoint_policy.validate()?;
        self.outliers.config(defaults::outliers()).map_or(Ok(()), |outliers| outliers.validate())?;
        let PolicyConfig { breaker, bulkhead, .. } = self.endpoint_policy.clone();
        if self.endpoint_policy != PolicyConfig::none().breaker(breaker).bulkhead(bulkhead) {
            return Err(Error::invalid(
                "endpoint_policy has a breaker and a bulkhead only: set retries and time limits with policy()",
            ));
        }
        Handle::try_current()
            .map_err(|_| Error::invalid("no tokio runtime is current; call build() within one"))
    }

    /// Returns the policy of the calls, and whether its time limit is that of the channel.
    fn call_policy(&self, peer: &str) -> Result<(Policy, bool), Error> {
        let config = match &self.policy {
            Guarding::Policy(policy) => return Ok((policy.clone(), false)),
            Guarding::Off => PolicyConfig::none(),
            Guarding::Default => PolicyConfig::interactive()
                .breaker(defaults::breaker())
                .bulkhead(BulkheadConfig::new(CALLS_IN_FLIGHT)),
        };
        let config = config.timeout(self.timeout.min(LONGEST));
        Ok((Policy::builder(peer, config).clock(self.clock.clone()).build()?, true))
    }

    const fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    fn connector(&self) -> Result<Connector, Error> {
        let connector = Connector::new(self.connect_timeout, self.keep_alive);
        #[cfg(feature = "tls")]
        let connector = connector.with_tls(self.tls.as_ref().map(|tls| tls.start(&self.clock)).transpose()?);
        Ok(connector)
    }

    fn endpoint_settings(
        &self,
        peer: &Arc<str>,
        several: bool,
        connector: Connector,
        runtime: Handle,
    ) -> Result<Arc<Settings>, Error> {
        let outliers = self.outliers.config(defaults::outliers()).filter(|_| several);
        let detector = outliers.map(|config| OutlierDetector::new(peer, config, self.clock.clone()));
        Ok(Arc::new(Settings {
            peer: peer.clone(),
            connector,
            connect_timeout: self.connect_timeout,
            keep_alive: self.keep_alive,
            backoff: self.backoff,
            max_waiting: self.max_waiting,
            guards: if several { self.endpoint_policy.clone() } else { PolicyConfig::none() },
            detector: detector.transpose()?,
            health_check: self.health_check.clone().map(HealthCheck::new).map(Arc::new),
            clock: self.clock.clone(),
            runtime,
            trouble: Notify::new(),
        }))
    }

    fn balancer(&self, targets: Vec<Target>, first: Target, settings: Arc<Settings>) -> Balancer {
        let balance = self.balance.unwrap_or_default();
        let sweeps = settings.detector.clone().map(|detector| {
            let sweeps = async move { detector.run(std::future::pending()).await };
            Task::spawn(&settings.runtime, sweeps)
        });
        let Some(interval) = self.resolve else {
            let endpoints = targets.into_iter().map(|Target { uri, origin }| {
                Arc::new(Endpoint::new(origin.authority.to_string(), origin, uri, settings.clone()))
            });
            let (_, set) = watch::channel(EndpointSet::of(endpoints.collect()));
            return Balancer::new(set, balance, self.clock.clone(), self.max_waiting, None, sweeps);
        };
        let ((host, port), origin) = (first.host_and_port(), first.origin);
        let shared = settings.clone();
        let endpoint = move |address: SocketAddr| {
            // Always a valid URI: an address has no other characters than an authority.
            let uri = Uri::try_from(format!("http://{address}")).unwrap_or_default();
            Arc::new(Endpoint::new(address.to_string(), origin.clone(), uri, shared.clone()))
        };
        let resolution = ResolverSettings {
            lookup: system_lookup(host, port),
            endpoint: Box::new(endpoint),
            interval: interval.min(LONGEST),
            shared: settings.clone(),
        };
        let (resolver, set) = start_resolver(resolution, &settings.runtime);
        Balancer::new(set, balance, self.clock.clone(), self.max_waiting, Some(resolver), sweeps)
    }
}
