//! The limits of a gRPC server.

use std::time::Duration;

use super::listener::{ListenerConfig, Protocols};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// The limits of a gRPC server, which [`serve`](crate::serve) checks.
///
/// ```
/// use comms_grpc::ServerConfig;
/// use std::time::Duration;
///
/// let config = ServerConfig::default().name("payment").max_timeout(Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The label `listener` of the metrics, and the field `listener` of log lines. Default `grpc`.
    pub name: String,
    /// The maximum duration of a call, including its response stream. Applies if the caller sends no `grpc-timeout` or
    /// a longer one. Default 30 s.
    pub max_timeout: Duration,
    /// The time that a peer has for the TLS handshake, the HTTP/2 preface and its SETTINGS frame together, from the
    /// accept. Default 10 s.
    pub head_timeout: Duration,
    /// The time without progress after which a connection with unsent response data is cut, see
    /// [`listen`](crate::listen). Default 10 s.
    pub progress_timeout: Duration,
    /// The maximum number of open connections. Further connections wait in the backlog of the socket. Default 1,024.
    pub max_connections: usize,
    /// The maximum number of open connections of one address. Further connections are closed at once. An IPv6 network
    /// of 64 bits counts as one address. `None` is half of `max_connections`, rounded up. Default `None`.
    pub max_connections_per_address: Option<usize>,
    /// The maximum number of concurrent calls on one connection. The peer queues further calls. Default 256.
    pub max_streams: u32,
    /// The time without received frames after which the server sends a ping. The connection is closed if the response
    /// takes longer than half of this time. Default 20 s.
    pub keep_alive: Duration,
    /// The age, +-10%, at which a connection is closed gracefully. The peer then opens another one, so that calls
    /// spread over new servers. Calls in flight on the old connection continue for at most `max_timeout`. Default 30
    /// min.
    pub max_connection_age: Duration,
    /// The time for which calls in flight may continue after shutdown was requested. Calls that still run then are cut.
    /// Default 10 s.
    pub drain: Duration,
    /// TLS of all connections. `None` is plain text. Default `None`.
    #[cfg(feature = "tls")]
    pub tls: Option<ServerTls>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: "grpc".to_owned(),
            max_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(10),
            max_connections: 1_024,
            max_connections_per_address: None,
            max_streams: 256,
            keep_alive: Duration::from_secs(20),
            max_connection_age: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ServerConfig {
    /// Sets the label `listener` of the metrics ([`name`](#structfield.name)).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the maximum duration of a call ([`max_timeout`](#structfield.max_timeout)).
    #[must_use]
    pub const fn max_timeout(mut self, max_timeout: Duration) -> Self {
        self.max_timeout = max_timeout;
        self
    }

    /// Sets the time for the HTTP/2 handshake ([`head_timeout`](#structfield.head_timeout)).
    #[must_use]
    pub const fn head_timeout(mut self, head_timeout: Duration) -> Self {
        self.head_timeout = head_timeout;
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

    /// Sets the maximum number of concurrent calls on one connection ([`max_streams`](#structfield.max_streams)).
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
    pub const fn max_connection_age(mut self, max_connection_age: Duration) -> Self {
        self.max_connection_age = max_connection_age;
        self
    }

    /// Sets the time for calls in flight after shutdown was requested ([`drain`](#structfield.drain)).
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

impl From<ServerConfig> for ListenerConfig {
    fn from(config: ServerConfig) -> Self {
        Self {
            name: config.name,
            protocols: Protocols::Http2,
            problem_details: false,
            head_timeout: config.head_timeout,
            progress_timeout: config.progress_timeout,
            max_connections: config.max_connections,
            max_connections_per_address: config.max_connections_per_address,
            max_streams: config.max_streams,
            keep_alive: config.keep_alive,
            max_connection_age: Some(config.max_connection_age),
            // No call is longer.
            max_connection_age_grace: config.max_timeout,
            drain: config.drain,
            #[cfg(feature = "tls")]
            tls: config.tls,
            ..Self::default()
        }
    }
}
