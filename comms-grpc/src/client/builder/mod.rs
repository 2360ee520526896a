//! The settings of a channel, and their checks.

mod build;
mod defaults;
mod endpoint_health;
mod hedge;
mod service_config;
mod target;

use std::{collections::HashMap, fmt, time::Duration};

use comms_core::{
    clock::Clock,
    resilience::{Backoff, Policy, PolicyConfig},
};

use super::{Balance, Channel, keep_alive::KeepAlive, methods::MethodSettings, service_config::Outliers};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

/// The settings of a [`Channel`], from [`Channel::builder`].
#[derive(Clone)]
#[must_use]
pub struct ChannelBuilder {
    uris: Vec<String>,
    resolve: Option<Duration>,
    timeout: Duration,
    connect_timeout: Duration,
    keep_alive: KeepAlive,
    backoff: Backoff,
    wait_for_ready: Option<bool>,
    max_waiting: usize,
    balance: Option<Balance>,
    endpoint_policy: PolicyConfig,
    outliers: Outliers,
    health_check: Option<String>,
    policy: Guarding,
    methods: HashMap<String, MethodSettings>,
    service_config: Option<String>,
    replay_limit: usize,
    peer: Option<String>,
    forwards_credentials: bool,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    clock: Clock,
}

/// The policy of the calls.
#[derive(Clone)]
enum Guarding {
    /// The default policy, with the timeout of the channel.
    Default,
    Off,
    Policy(Policy),
}

impl Channel {
    /// Returns a builder of a channel to `uri`, which is `http://host:port`, or `https://host:port` with TLS
    /// (`ChannelBuilder::tls`, feature `tls`).
    pub fn builder(uri: impl Into<String>) -> ChannelBuilder {
        ChannelBuilder {
            uris: vec![uri.into()],
            resolve: None,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            keep_alive: KeepAlive::default(),
            backoff: defaults::reconnect_backoff(),
            wait_for_ready: None,
            max_waiting: 1_024,
            balance: None,
            endpoint_policy: PolicyConfig::none(),
            outliers: Outliers::default(),
            health_check: None,
            policy: Guarding::Default,
            methods: HashMap::new(),
            service_config: None,
            replay_limit: 64 * 1024,
            peer: None,
            forwards_credentials: false,
            #[cfg(feature = "tls")]
            tls: None,
            clock: Clock::system(),
        }
    }
}

/// Calls: their time limits, attempts and guards.
impl ChannelBuilder {
    /// Sets the maximum duration of a call, including all its attempts and its response stream. Default 5 s. An earlier
    /// deadline of the caller's context or of the request applies instead.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the policy of the calls: retries and their budget, rate limit, time limit of an attempt, breaker and
    /// bulkhead of the peer as a whole.
    ///
    /// The default is a policy with the name of the peer and these settings:
    /// - five attempts in all, with a backoff of 50 ms that doubles up to 1 s, +-20 %;
    /// - a retry budget of 20 % of the calls and 10 retries per second;
    /// - a breaker that opens if 50 % of at least 20 attempts of the last 10 s fail, for 5 s at first and up to 60 s while
    ///   the peer keeps failing;
    /// - a bulkhead of 1,024 calls in flight, without a queue;
    /// - no time limit of an attempt other than [`timeout`](Self::timeout), which also ends the waits between attempts.
    ///
    /// A call that ends at the deadline of the channel counts as a failure for the breaker of the default policy. A
    /// policy that is set here sees the deadline of the channel as that of its caller, which is neutral to its breaker:
    /// give the policy a time limit below [`timeout`](Self::timeout), so that a peer that does not answer opens the
    /// breaker.
    ///
    /// ```
    /// use comms_core::resilience::{Policy, PolicyConfig};
    /// use comms_grpc::Channel;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), comms_core::Error> {
    /// let config = PolicyConfig::interactive().attempt_timeout(Duration::from_millis(300));
    /// let policy = Policy::new("payment", config)?;
    /// let channel = Channel::builder("http://127.0.0.1:50051").policy(policy.clone()).build()?;
    /// # drop(channel);
    /// # Ok(())
    /// # }
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Guarding::Policy(policy);
        self
    }

    /// Runs each call with one attempt and without guards, for a caller that runs the call inside of a policy itself.
    pub fn without_policy(mut self) -> Self {
        self.policy = Guarding::Off;
        self
    }

    /// Sets the policy of the method `path`, such as `/payment.v1.Payments/Charge`, instead of [`policy`](Self::policy).
    pub fn method_policy(mut self, path: impl Into<String>, policy: Policy) -> Self {
        self.methods.entry(path.into()).or_default().policy = Some(policy);
        self
    }

    /// Marks methods as idempotent: executing a call twice has the effect of executing it once. Default none.
    ///
    /// The policy retries a call of such a method, and a call with an [idempotency key](crate::keyed), also if the call
    /// may have been executed. It retries any other call only with a proof that the call was not executed.
    pub fn idempotent_methods(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        for path in paths {
            self.methods.entry(path.into()).or_default().idempotent = true;
        }
        self
    }

    /// Sets the maximum size in bytes of the beginning of a request that is kept until the response begins, so that the
    /// request can be sent again. Default 64 KiB.
    ///
    /// A call that has sent more is not retried.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }

    /// Sets whether a call waits, until its deadline, while no connection can be made. Default `false`: the attempt
    /// fails at once during the backoff between two connection attempts, as `NotExecuted` with the time until the next
    /// connection attempt as the wait, after which the policy retries.
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = Some(wait);
        self
    }

    /// Sets whether the calls carry the credentials of this process's caller. Default `false`.
    ///
    /// If `true`, [`from_status`](crate::from_status) converts PERMISSION_DENIED and UNAUTHENTICATED to
    /// `PermissionDenied` and `Unauthenticated`, because they concern the caller. If `false`, they concern this process
    /// and are `Misconfigured`.
    pub fn forwards_credentials(mut self, forwards: bool) -> Self {
        self.forwards_credentials = forwards;
        self
    }
}

/// Endpoints and connections.
impl ChannelBuilder {
    /// Encrypts the connections, and authenticates the peer, and with an identity this process (mutual TLS). The URIs must
    /// then be `https://host:port`. Default: plain text.
    ///
    /// A handshake that fails is a connection that could not be made: the calls are `NotExecuted`, and their message has
    /// the reason. The certificates are read again while the channel lives, see [`tls`](crate::tls).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Adds endpoints: further URIs of the form of the first, where the same service listens.
    ///
    /// A channel with several endpoints opens a connection to each of them and distributes its calls, see
    /// [`balance`](Self::balance).
    pub fn endpoints(mut self, uris: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.uris.extend(uris.into_iter().map(Into::into));
        self
    }

    /// Resolves the host of the URI to all of its addresses, and uses each of them as an endpoint. Default: one
    /// endpoint, whose host is resolved with each connection attempt.
    ///
    /// The host is resolved when the channel is built and then after each `interval` (the usual value is 30 s), and
    /// earlier, but not within 5 s, after a connection was lost or could not be made. A failed or empty resolution
    /// keeps the old endpoints. A look-up is given up after 10 s. An endpoint that is no longer in the answer takes no new
    /// calls; its running calls continue. At most 256 addresses are used.
    pub fn resolve(mut self, interval: Duration) -> Self {
        self.resolve = Some(interval);
        self
    }

    /// Sets how the endpoint of a call is chosen. Default [`Balance::RoundRobin`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = Some(balance);
        self
    }

    /// Sets the maximum duration of a connection attempt, until the peer has sent its settings and permits a call. Default
    /// 2 s. A call that waits for the connection ends at the deadline of the call, if that is earlier; the attempt goes on.
    /// A connection whose peer later permits no further call for this time is replaced. Its calls in flight continue.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the waits between failed connection attempts. Default, as in gRPC: 1 s, multiplied by 1.6 after each
    /// failure up to 120 s, +-20 %.
    ///
    /// A connection that was in use and is lost is replaced without a wait.
    pub fn reconnect_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the maximum number of calls that wait for one connection, or for the first resolution of the host. Default
    /// 1,024. A further call fails as `Rejected`. A call waits as well, in the order of the calls, while the connection has
    /// as many calls as the peer permits (RFC 9113, section 5.1.2): the channel opens no further connection to the endpoint.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// Sets the time without received frames after which a keep-alive ping is sent. Default 5 minutes, minimum 10 s. No
    /// ping is sent while no call is in flight.
    ///
    /// The default is the shortest interval that a gRPC server with default settings accepts. Such a server answers
    /// more frequent pings with GOAWAY `too_many_pings` and cuts the calls in flight, so shorten the interval only
    /// together with the setting of the server (`GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS`, grpc-go's
    /// `EnforcementPolicy.MinTime`, grpc-java's `permitKeepAliveTime`). The server of comms-grpc accepts any interval.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive.interval = interval;
        self
    }

    /// Sets the maximum wait for the response to a keep-alive ping, and for the peer's kernel to acknowledge sent bytes
    /// (`TCP_USER_TIMEOUT`, gRFC A18; Linux, Android and Fuchsia). Default 20 s, minimum 1 ms.
    ///
    /// After this time the connection is closed, its calls in flight fail as `Indeterminate`, and the next call opens a
    /// new connection. On other systems only the ping detects a peer that vanished without closing the connection.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive.timeout = timeout;
        self
    }

    /// Sets the name of the peer in metrics, spans and errors, such as `payment`. Default: host and port of the URI.
    ///
    /// The name of a channel with the default policy, or with several endpoints, is never freed, so use a bounded set of
    /// names.
    pub fn peer(mut self, name: impl Into<String>) -> Self {
        self.peer = Some(name.into());
        self
    }

    /// Sets the clock that measures deadlines. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

/// Hides a URI that [`build`](ChannelBuilder::build) refuses, because it may contain a password.
impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uris: Vec<_> = self.uris.iter().map(|uri| target::shown(uri)).collect();
        f.debug_struct("ChannelBuilder")
            .field("uris", &uris)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
