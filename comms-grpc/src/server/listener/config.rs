//! The limits of a listener.

use std::time::Duration;

use comms_core::Error;

#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// The protocols that a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 with upgrades, and HTTP/2 by prior knowledge. With TLS, a client may select `h2` or `http/1.1` by ALPN.
    Http,
    /// Only HTTP/2 by prior knowledge, the protocol of gRPC. With TLS, a client must select `h2` by ALPN: one that offers
    /// no ALPN is refused, as gRPC requires.
    Http2,
}

/// The limits of a listener, which [`listen`](crate::listen) checks.
///
/// ```
/// use comms_grpc::{ListenerConfig, Protocols};
///
/// let config = ListenerConfig::default().name("orders").protocols(Protocols::Http).max_connections(256);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The label `listener` of the metrics, and the field `listener` of log lines. Default `http`.
    pub name: String,
    /// The protocols that the listener serves. Default [`Protocols::Http`].
    pub protocols: Protocols,
    /// Whether a request whose head cannot be read, or is longer than 64 KiB, gets problem details (RFC 9457) with a
    /// `trace-id` instead of an empty 400, 414 or 431. HTTP/1 only. Default `false`.
    ///
    /// The listener replaces every empty response that has one of these statuses and no `trace-id`. Set this only if
    /// the service sets `trace-id` on all its responses.
    pub problem_details: bool,
    /// The time that a peer has for the TLS handshake and for a request head (HTTP/1) or the preface and a SETTINGS
    /// frame (HTTP/2) together. It runs from the accept, and for a further request of an HTTP/1 connection from the first byte of the head. Default 10
    /// s.
    pub head_timeout: Duration,
    /// The time for which an HTTP/1 connection stays open after a response if its peer sends nothing. Default 75 s.
    ///
    /// Set it higher than the limit of a proxy in front of the listener. Otherwise the proxy sends requests into
    /// connections that are being closed.
    pub idle_timeout: Duration,
    /// The time without progress after which a connection with pending data is cut. [`listen`](crate::listen) defines
    /// progress and pending data. Default 10 s.
    pub progress_timeout: Duration,
    /// The maximum number of open connections, including upgraded ones. Further connections wait in the backlog of the
    /// socket. Default 1,024.
    pub max_connections: usize,
    /// The maximum number of open connections of one address. Further connections are closed at once. An IPv6 network
    /// of 64 bits counts as one address. `None` is half of `max_connections`, rounded up. Default `None`.
    pub max_connections_per_address: Option<usize>,
    /// The maximum number of concurrent requests on one HTTP/2 connection. Default 64.
    pub max_streams: u32,
    /// The time without received frames after which the server sends a ping on an HTTP/2 connection. The connection is
    /// closed if the response takes longer than half of this time. Default 20 s.
    pub keep_alive: Duration,
    /// The age, +-10%, at which a connection is closed gracefully. `None` is no limit. Default `None`.
    pub max_connection_age: Option<Duration>,
    /// The time for which requests in flight may continue after their connection has reached its age. Default 30 s.
    pub max_connection_age_grace: Duration,
    /// The time for which requests in flight may continue after shutdown was requested. Requests that still run then
    /// are cut. Default 10 s.
    pub drain: Duration,
    /// TLS of all connections. `None` is plain text. Default `None`.
    #[cfg(feature = "tls")]
    pub tls: Option<ServerTls>,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "http".to_owned(),
            protocols: Protocols::Http,
            problem_details: false,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            progress_timeout: Duration::from_secs(10),
            max_connections: 1_024,
            max_connections_per_address: None,
            max_streams: 64,
            keep_alive: Duration::from_secs(20),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ListenerConfig {
    /// Sets the label `listener` of the metrics ([`name`](#structfield.name)).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the protocols that the listener serves ([`protocols`](#structfield.protocols)).
    #[must_use]
    pub const fn protocols(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Sets whether requests that cannot be read get problem details
    /// ([`problem_details`](#structfield.problem_details)).
    #[must_use]
    pub const fn problem_details(mut self, problem_details: bool) -> Self {
        self.problem_details = problem_details;
        self
    }

    /// Sets the time for a request head, or for the HTTP/2 handshake ([`head_timeout`](#structfield.head_timeout)).
    #[must_use]
    pub const fn head_timeout(mut self, head_timeout: Duration) -> Self {
        self.head_timeout = head_timeout;
        self
    }

    /// Sets the time for which an idle HTTP/1 connection stays open ([`idle_timeout`](#structfield.idle_timeout)).
    #[must_use]
    pub const fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Sets the time without progress after which a connection is cut
    /// ([`progress_timeout`](#structfield.progress_timeout)).
    #[must_use]
    pub const fn progress_timeout(mut self, progress_timeout: Duration) -> Self {
        self.progress_timeout = progress_timeout;
        self
    }

    /// Sets the maximum number of open connections ([`max_connections`](#structfield.max_connections)).
    #[must_use]
    pub const fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// Sets the maximum number of open connections of one address
    /// ([`max_connections_per_address`](#structfield.max_connections_per_address)).
    #[must_use]
    pub fn max_connections_per_address(
        mut self,
        max_connections_per_address: impl Into<Option<usize>>,
    ) -> Self {
        self.max_connections_per_address = max_connections_per_address.into();
        self
    }

    /// Sets the maximum number of concurrent requests on one HTTP/2 connection
    /// ([`max_streams`](#structfield.max_streams)).
    #[must_use]
    pub const fn max_streams(mut self, max_streams: u32) -> Self {
        self.max_streams = max_streams;
        self
    }

    /// Sets the time without received frames after which a ping is sent ([`keep_alive`](#structfield.keep_alive)).
    #[must_use]
    pub const fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets the age at which a connection is closed gracefully
    /// ([`max_connection_age`](#structfield.max_connection_age)).
    #[must_use]
    pub fn max_connection_age(mut self, max_connection_age: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age = max_connection_age.into();
        self
    }

    /// Sets the time for requests in flight on a connection that has reached its age
    /// ([`max_connection_age_grace`](#structfield.max_connection_age_grace)).
    #[must_use]
    pub const fn max_connection_age_grace(mut self, max_connection_age_grace: Duration) -> Self {
        self.max_connection_age_grace = max_connection_age_grace;
        self
    }

    /// Sets the time for requests in flight after shutdown was requested ([`drain`](#structfield.drain)).
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets TLS of all connections ([`tls`](#structfield.tls)).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Option<ServerTls>>) -> Self {
        self.tls = tls.into();
        self
    }
}

impl ListenerConfig {
    pub(super) fn per_address(&self) -> usize {
        self.max_connections_per_address.unwrap_or_else(|| self.max_connections.div_ceil(2))
    }

    /// Returns an error that names the first limit of zero. `drain` and `max_connection_age_grace` may be zero.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let limits = [
            ("head_timeout", self.head_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("progress_timeout", self.progress_timeout.is_zero()),
            ("max_connections", self.max_connections == 0),
            ("max_connections_per_address", self.max_connections_per_address == Some(0)),
            ("max_streams", self.max_streams == 0),
            ("keep_alive", self.keep_alive.is_zero()),
            ("max_connection_age", self.max_connection_age == Some(Duration::ZERO)),
        ];
        match limits.iter().find(|(_, zero)| *zero) {
            Some((limit, _)) => {
                Err(Error::invalid(format!("listener {}: {limit} must be greater than zero", self.name)))
            }
            None => Ok(()),
        }
    }
}
