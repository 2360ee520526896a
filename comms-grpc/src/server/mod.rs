//! The server side: a bounded listener, and one that serves gRPC routes under the [`ServerLayer`].

mod layer;
mod listener;
mod scoped;

pub(crate) use layer::own;
pub use layer::{ServerLayer, ServerService};
pub use listener::{ListenerConfig, Peer, Protocols, RequestBody, listen};

use std::{future::Future, time::Duration};

use comms_core::{Error, clock::Clock};
use http::Request;
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::server::TcpConnectInfo};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt;

/// Limits of a server, checked by [`serve`]. Those of its connections are described in [`ListenerConfig`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The value of the label `listener` of the metrics, and of log lines. Default `grpc`.
    pub name: String,
    /// The longest a call may take, response stream included: the caller's `grpc-timeout` shortens it, and a
    /// caller that sends none gets this. Default 30 s.
    pub max_timeout: Duration,
    /// How long a peer may take to send the preface and SETTINGS. Default 10 s.
    pub head_timeout: Duration,
    /// How long a peer may take nothing of the responses that it is owed. Default 10 s.
    pub progress_timeout: Duration,
    /// Connections at a time; further ones wait in the backlog of the socket. Default 1,024.
    pub max_connections: usize,
    /// Connections of one address at a time; further ones are closed at once. `None`: half of `max_connections`.
    /// Default `None`.
    pub max_connections_per_address: Option<usize>,
    /// Calls that a connection may have open at a time; the peer keeps the rest back. Default 256.
    pub max_streams: u32,
    /// How long a connection may be silent before a ping is sent; the connection is closed if the response takes half of
    /// that. Default 20 s.
    pub keep_alive: Duration,
    /// After this, +-10%, a connection is closed gracefully and the peer makes another, so that calls spread over new
    /// servers; it is cut `max_timeout` later. Default 30 min.
    pub max_connection_age: Duration,
    /// How long calls in flight may run on after shutdown was requested; then they are cut. Default 10 s.
    pub drain: Duration,
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
        }
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
            ..Self::default()
        }
    }
}

/// Serves `routes` on `listener`, each call under a [`ServerLayer`], with the standard health service
/// (`grpc.health.v1.Health`, the server as a whole) beside them.
///
/// When `shutdown` resolves, the health service reports NOT_SERVING and ends its watches, the listener closes, and each
/// peer gets a GOAWAY. Calls in flight run on for at most [`ServerConfig::drain`]; those that still run then are cut,
/// with a warning. Dropping the future cuts everything at once. The listener is that of [`listen`].
///
/// ```
/// use comms_core::clock::Clock;
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
/// Returns `Invalid` for a limit of zero.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    config: ServerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let layer = ServerLayer::new(config.max_timeout, clock.clone())?;
    // Health stands beside the layer: a watch has no deadline.
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::from(routes.into_axum_router().layer(layer)).add_service(health_service).prepare();
    let service = move |peer: Peer| {
        // For tonic's Request::remote_addr.
        let info = TcpConnectInfo { local_addr: peer.local, remote_addr: Some(peer.remote) };
        routes.clone().map_request(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(info.clone());
            request
        })
    };
    let shutdown = async move {
        shutdown.await;
        retire(health).await;
    };
    listen(listener, service, config.into(), clock, shutdown).await
}

/// Reports NOT_SERVING, then ends the watches, which would keep their connections open for the whole drain.
async fn retire(mut health: HealthReporter) {
    health.set_service_status("", ServingStatus::NotServing).await;
    health.clear_service_status("").await;
}
