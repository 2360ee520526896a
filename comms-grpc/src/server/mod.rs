//! The server side: a listener that serves routes under the [`ServerLayer`] until shutdown is requested.

mod connections;
mod layer;
mod scoped;

pub(crate) use layer::own;
pub use layer::{ServerLayer, ServerService};

use std::{future::Future, time::Duration};

use comms_core::{Clock, Error};
use connections::Connections;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Longer than any connection lives, and short enough to calculate with.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Limits of a server, checked by [`serve`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The longest a call may take, response stream included: the caller's `grpc-timeout` shortens it, and a
    /// caller that sends none gets this. Default 30 s.
    pub max_timeout: Duration,
    /// Connections at a time; further ones wait in the listener's backlog. Default 1,024.
    pub max_connections: usize,
    /// Calls a connection may have open at a time; the peer keeps the rest back. Default 256.
    pub max_streams: u32,
    /// How long a connection may be silent before a ping is sent; the connection is closed if the answer takes half of
    /// that. Default 20 s.
    pub keep_alive: Duration,
    /// After this, +-10%, a connection is ended in order and the peer makes another, so that calls spread over
    /// new servers; it is cut `max_timeout` later, which bounds a peer that opens streams and never reads them.
    /// Default 30 min.
    pub max_connection_age: Duration,
    /// How long calls in flight may still run once shutdown is requested; then they are cut. Default 10 s.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_timeout: Duration::from_secs(30),
            max_connections: 1_024,
            max_streams: 256,
            keep_alive: Duration::from_secs(20),
            max_connection_age: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves `routes` on `listener`, each call under a [`ServerLayer`], with the standard health service
/// (`grpc.health.v1.Health`, the server as a whole) beside them.
///
/// When `shutdown` resolves, the listener closes, the health service reports NOT_SERVING and ends its watches, and each
/// peer gets a GOAWAY. Calls in flight run on for at most [`ServerConfig::drain`]; those that still run then are cut,
/// with a warning. Dropping the future cuts everything at once.
///
/// ```
/// use comms_core::Clock;
/// use comms_grpc::{ServerConfig, serve, tonic::service::Routes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let routes = Routes::default(); // Routes::new(PaymentsServer::new(payments))
/// let shutdown = async { /* SIGTERM */ };
/// serve(listener, routes, ServerConfig::default(), Clock::system(), shutdown).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Invalid` for a limit of zero.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    config: ServerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let ServerConfig { max_connections, max_streams, keep_alive, max_connection_age, drain, .. } = config;
    if max_connections == 0 || max_streams == 0 || keep_alive.is_zero() || max_connection_age.is_zero() {
        return Err(Error::invalid("a limit of zero lets no gRPC call through"));
    }
    let layer = ServerLayer::new(config.max_timeout, clock.clone())?;
    // Health stands beside the layer: a watch has no deadline.
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::from(routes.into_axum_router().layer(layer)).add_service(health_service).prepare();
    let mut connections = Connections::new(routes, config);
    // Spread, so that peers that came together do not come again together.
    let age = || max_connection_age.min(YEAR).mul_f64(0.9 + 0.2 * clock.random_unit());
    connections.accept(listener, age, shutdown).await;
    retire(health).await;
    match connections.drain().await {
        0 => {}
        cut => tracing::warn!(connections = cut, ?drain, "gRPC calls were cut at the end of the drain"),
    }
    Ok(())
}

/// Reports NOT_SERVING, then ends the watches, which would keep their connections open for the whole drain.
async fn retire(mut health: HealthReporter) {
    health.set_service_status("", ServingStatus::NotServing).await;
    health.clear_service_status("").await;
}
