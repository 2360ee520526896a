//! The bounds of the listeners of this process, from the configuration and the number of descriptors.

use std::time::Duration;

use comms_grpc::{ListenerConfig, ServerConfig};

use super::descriptors::Budget;
use crate::platform::config::Listeners;

/// How long open requests and calls may run on after shutdown was requested; what runs on then is cut. Below half of
/// `shutdown.limit` by default, which is what a stage may take.
const DRAIN: Duration = Duration::from_secs(6);
/// The longest limit of the admin listener for a head, since a probe sends its request at once.
const PROBE: Duration = Duration::from_secs(5);

/// The bounds of every listener.
#[derive(Debug, Clone)]
pub struct Limits {
    config: Listeners,
    budget: Budget,
}

impl Limits {
    /// The bounds that `config` sets; connections are bounded by `budget` unless `config` sets their number.
    #[must_use]
    pub const fn new(config: Listeners, budget: Budget) -> Self {
        Self { config, budget }
    }

    /// The bounds of an HTTP or socket listener. `name` stands in logs and metrics.
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
        limits.drain = DRAIN;
        limits
    }

    /// The bounds of a gRPC listener. `name` stands in logs and metrics.
    #[must_use]
    pub fn grpc(&self, name: &str) -> ServerConfig {
        let mut limits = ServerConfig::default();
        limits.name = name.to_owned();
        limits.head_timeout = self.config.head_timeout;
        limits.progress_timeout = self.config.progress_timeout;
        limits.max_connections = self.connections();
        limits.max_connections_per_address = self.config.max_connections_per_address;
        limits.drain = DRAIN;
        limits
    }

    /// The bounds of the admin listener: its own, so that probes are answered whatever the other listeners hold. 64
    /// connections, 32 of one address.
    #[must_use]
    pub fn admin(&self) -> ListenerConfig {
        let mut limits = self.http("admin");
        limits.head_timeout = limits.head_timeout.min(PROBE);
        limits.max_connections = 64;
        limits.max_connections_per_address = Some(32);
        limits
    }

    fn connections(&self) -> usize {
        self.config.max_connections.unwrap_or(self.budget.connections)
    }
}
