//! Limits of a listener.

use std::time::Duration;

use comms_core::Error;

/// The protocols that a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 with upgrades, and HTTP/2 by prior knowledge.
    Http,
    /// HTTP/2 by prior knowledge alone, as gRPC needs it.
    Http2,
}

/// Limits of [`listen`](crate::listen).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The value of the label `listener` of the metrics, and of log lines. Default `http`.
    pub name: String,
    /// Default [`Protocols::Http`].
    pub protocols: Protocols,
    /// Whether a request whose head cannot be read, or is over 64 KiB, gets problem details (RFC 9457) with a `trace-id`
    /// instead of an empty 400, 414 or 431. It replaces empty responses with these statuses and without `trace-id`, so set it
    /// only if the service sets `trace-id` on every response. HTTP/1 only. Default `false`.
    pub problem_details: bool,
    /// How long a peer may take to send a request head (HTTP/1; from the accept, or from its first byte on a connection
    /// that has had a response), or the preface and SETTINGS (HTTP/2; from the accept). Default 10 s.
    pub head_timeout: Duration,
    /// How long an HTTP/1 connection stays open after a response if its peer sends nothing. Default 75 s. A proxy that keeps
    /// connections for longer sends requests into connections that are being closed: set it higher than the proxy's limit.
    pub idle_timeout: Duration,
    /// How long nothing may move on a connection while something is owed on it. Default 10 s.
    pub progress_timeout: Duration,
    /// Connections at a time, upgraded ones included; further ones wait in the backlog of the socket. Default 1,024.
    pub max_connections: usize,
    /// Connections of one address at a time; further ones are closed at once. One IPv6 network of 64 bits counts as one
    /// address. `None`: half of `max_connections`. Default `None`.
    pub max_connections_per_address: Option<usize>,
    /// Requests that an HTTP/2 connection may have open at a time. Default 64.
    pub max_streams: u32,
    /// How long an HTTP/2 connection may be silent before the server sends a ping; the connection is closed if the
    /// response takes half of that. Default 20 s.
    pub keep_alive: Duration,
    /// After this, +-10%, a connection is closed gracefully. Default `None`: connections do not age.
    pub max_connection_age: Option<Duration>,
    /// How long requests in flight may run on after a connection has reached its age. Default 30 s.
    pub max_connection_age_grace: Duration,
    /// How long requests in flight may run on after shutdown was requested; then they are cut. Default 10 s.
    pub drain: Duration,
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
        }
    }
}

impl ListenerConfig {
    pub(super) fn per_address(&self) -> usize {
        self.max_connections_per_address.unwrap_or_else(|| self.max_connections.div_ceil(2))
    }

    /// # Errors
    /// Returns `Invalid` for a limit of zero. `drain` and the grace may be zero.
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
                Err(Error::invalid(format!("listener {}: {limit} of zero serves no request", self.name)))
            }
            None => Ok(()),
        }
    }
}
