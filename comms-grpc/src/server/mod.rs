//! The server side: a listener with limits, and the server of gRPC routes under the [`ServerLayer`].
//!
//! A call passes through the files in this order:
//! 1. `mod.rs`: [`serve`] puts the layer around the routes and adds the health service.
//! 2. `listener/`: accepts the connection and reads the request within the limits of [`ListenerConfig`].
//! 3. `layer.rs`: runs the handler in the caller's context, until the deadline.
//! 4. `context_body.rs`: polls the response stream in the same context.
//! 5. `crate::deadline_body`: ends the response stream at the deadline.

mod config;
mod context_body;
mod identity;
mod layer;
mod listener;

pub use config::ServerConfig;
pub use identity::PeerIdentity;
pub use layer::{ServerLayer, ServerService};
pub use listener::{ListenerConfig, Peer, Protocols, RequestBody, listen};

use std::future::Future;

use comms_core::{Error, clock::Clock};
use http::Request;
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::server::TcpConnectInfo};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt;

/// Serves gRPC `routes` on `listener` until `shutdown` resolves, each call under a [`ServerLayer`].
///
/// The standard health service (`grpc.health.v1.Health`, for the server as a whole) is served beside the routes. The
/// accept loop and its limits are those of [`listen`].
///
/// When `shutdown` resolves, the health service reports NOT_SERVING and ends its watches, the listener closes, and each
/// peer gets a GOAWAY. Calls in flight continue for at most [`ServerConfig::drain`]. The calls that still run then are
/// cut, and a warning is logged. Dropping the future cuts all calls at once.
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
/// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit of `config` other than
/// [`ServerConfig::drain`] is zero, and [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if TLS is set
/// and its certificates cannot be loaded, or no cryptography provider is installed. An accept that fails is logged and repeated.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    config: ServerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let layer = ServerLayer::new(config.max_timeout, clock.clone())?;
    // The health service is outside the layer, because a watch has no deadline.
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::from(routes.into_axum_router().layer(layer)).add_service(health_service).prepare();
    let service = move |peer: Peer| {
        // tonic's `Request::remote_addr` reads this extension.
        let info = TcpConnectInfo { local_addr: peer.local, remote_addr: Some(peer.remote) };
        routes.clone().map_request(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(info.clone());
            if let Some(identity) = &peer.identity {
                request.extensions_mut().insert(identity.clone());
            }
            request
        })
    };
    let shutdown = async move {
        shutdown.await;
        report_not_serving(health).await;
    };
    listen(listener, service, config.into(), clock, shutdown).await
}

/// Reports NOT_SERVING, and then ends the watches, which would otherwise keep their connections open for the whole
/// drain.
async fn report_not_serving(mut health: HealthReporter) {
    health.set_service_status("", ServingStatus::NotServing).await;
    health.clear_service_status("").await;
}
