//! The server side: a listener that serves routes under the [`ServerLayer`] until it is told to stop.

mod incoming;
mod layer;
mod scoped;

pub use layer::{ServerLayer, ServerService};

use std::{future::Future, time::Duration};

use comms_core::{Clock, Error};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

/// Limits of a server, checked by [`serve`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The longest a call may take, response stream included: the caller's `grpc-timeout` shortens it, and a
    /// caller that sends none gets this. Default 30 s.
    pub max_timeout: Duration,
    /// Calls a connection may have open at a time; the peer keeps the rest back. Default 256.
    pub max_streams: u32,
    /// How long a connection may be silent before the peer is asked for life; it is closed after half of
    /// that without an answer. Default 20 s.
    pub keep_alive: Duration,
    /// After this a connection is ended in order and the peer makes another, so that calls spread over new
    /// servers; it is cut `max_timeout` later, which bounds a peer that opens streams and never reads them.
    /// Default 30 min.
    pub max_connection_age: Duration,
    /// How long calls in flight may still run once the server is told to stop. Default 10 s.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_timeout: Duration::from_secs(30),
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
/// When `shutdown` resolves: health says NOT_SERVING and ends its watchers, the listener closes, peers are
/// told to go elsewhere, calls in flight run on for at most [`ServerConfig::drain`]; what still runs then
/// is left to the end of the process, and a warning says so.
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
/// `Invalid` for a limit of zero; `Fatal` where the transport fails as a whole.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    config: ServerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let layer = ServerLayer::new(config.max_timeout, clock)?;
    if config.max_streams == 0 || config.keep_alive.is_zero() || config.max_connection_age.is_zero() {
        return Err(Error::invalid("max_streams, keep_alive and max_connection_age must be above zero"));
    }
    // Health stands beside the layer: a watch has no deadline.
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::from(routes.into_axum_router().layer(layer)).add_service(health_service);
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let signal = async move {
        shutdown.await;
        retire(health).await;
        let _ = stopping.send(());
    };
    let server = Server::builder()
        .max_concurrent_streams(config.max_streams)
        .http2_keepalive_interval(Some(config.keep_alive))
        .http2_keepalive_timeout(Some(config.keep_alive / 2))
        .max_connection_age(config.max_connection_age)
        .max_connection_age_grace(config.max_timeout)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming::sockets(listener), signal);
    let overdue = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(config.drain).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = server => result.map_err(|e| Error::fatal(e).context("serve gRPC")),
        () = overdue => {
            tracing::warn!(drain = ?config.drain, "gRPC calls were still in flight at the end of the drain");
            Ok(())
        }
    }
}

/// Says NOT_SERVING to whoever asks and watches, then ends the watches, which would keep their connections
/// open for the whole drain.
async fn retire(mut health: HealthReporter) {
    health.set_service_status("", ServingStatus::NotServing).await;
    health.clear_service_status("").await;
}
