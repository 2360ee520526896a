//! The limits of each listener, derived from the configuration and the number of file descriptors.

use std::time::Duration;

use comms_grpc::{ListenerConfig, ServerConfig, tls::ServerTls};

use super::file_descriptors::ConnectionBudget;
use crate::platform::config::Listeners;

/// How long requests and calls in flight may continue after shutdown was requested. Requests that take longer are cut
/// off. By default, this is less than half of `shutdown.limit`, the share that one stage may use.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// The upper bound of the admin listener's head timeout. A probe sends its request at once.
const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Builds the limits of each listener.
#[derive(Debug, Clone)]
pub struct Limits {
    config: Listeners,
    budget: ConnectionBudget,
}

impl Limits {
    /// Takes the limits from `config`. If `config` sets no number of connections, `budget` determines it.
    #[must_use]
    pub const fn new(config: Listeners, budget: ConnectionBudget) -> Self {
        Self { config, budget }
    }

    /// Returns the limits of an HTTP or WebSocket listener. `name` is used in logs and metrics.
    #[must_use]
    pub fn http(&self, name: &str) -> ListenerConfig {
        let mut limits = ListenerConfig::default();
        limits.name = name.to_owned();
        limits.problem_details = true;
        limits.head_timeout = self.config.head_timeout;
        limits.idle_timeout = self.config.idle_timeout;
        limits.progress_timeout = self.config.progress_timeout;
        limits.max_connections = self.connections();
        limits.max_connections_per_address = self.config.max_connections_per_address;
        limits.drain = DRAIN_TIMEOUT;
        limits
    }

    /// Returns the limits of a gRPC listener. `name` is used in logs and metrics. `tls` is `None` for plain text.
    #[must_use]
    pub fn grpc(&self, name: &str, tls: Option<ServerTls>) -> ServerConfig {
        let mut limits = ServerConfig::default();
        limits.name = name.to_owned();
        limits.head_timeout = self.config.head_timeout;
        limits.progress_timeout = self.config.progress_timeout;
        limits.max_connections = self.connections();
        limits.max_connections_per_address = self.config.max_connections_per_address;
        limits.drain = DRAIN_TIMEOUT;
        limits.tls = tls;
        limits
    }

    /// Returns the limits of the admin listener: 64 connections, at most 32 of one address. They are separate from
    /// those of the other listeners, so that probes are answered while another listener is full.
    #[must_use]
    pub fn admin(&self) -> ListenerConfig {
        let mut limits = self.http("admin");
        limits.head_timeout = limits.head_timeout.min(ADMIN_HEAD_TIMEOUT);
        limits.max_connections = 64;
        limits.max_connections_per_address = Some(32);
        limits
    }

    fn connections(&self) -> usize {
        self.config.max_connections.unwrap_or(self.budget.connections)
    }
}
