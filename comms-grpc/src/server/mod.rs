//! The server side: a listener with limits, and the server of gRPC routes with its checks.
//!
//! A call passes through the files in this order:
//! 1. `builder.rs`: [`Server`] puts the checks around the routes and adds the health service of `health.rs`.
//! 2. `listener/`: accepts the connection and reads the request within the limits of [`ListenerConfig`].
//! 3. `protocol.rs`: answers a request that is not gRPC.
//! 4. `layer.rs`: runs the handler in the caller's context, until the deadline.
//! 5. `guards.rs`: checks access (`access/`), sheds load (`shed.rs`), checks messages (`message_check.rs`,
//!    `methods.rs`), and replays stored responses (`replay/`).
//! 6. `context_body.rs`: polls the response stream in the same context.
//! 7. `deadline_body.rs`: ends the response stream at the deadline.

mod access;
mod builder;
mod call_metrics;
mod config;
mod context_body;
mod deadline_body;
mod guards;
mod health;
mod layer;
mod listener;
mod message_check;
mod method_labels;
mod methods;
mod protocol;
mod replay;
mod response;
mod restate;
mod shed;

pub use access::{Access, AccessBuilder, Caller};
pub use builder::Server;
pub use config::ServerConfig;
pub use layer::{ServerLayer, ServerService};
pub use listener::{ListenerConfig, Peer, Protocols, RequestBody, listen, take_socket};
pub use replay::Replay;

use std::future::Future;

use comms_core::{Error, clock::Clock};
use tokio::net::TcpListener;
use tonic::service::Routes;

/// Serves gRPC `routes` on `listener` until `shutdown` resolves, each call under a [`ServerLayer`].
///
/// The short form of [`Server`], without authorization, replay and reflection. The standard health service
/// (`grpc.health.v1.Health`) is served for the server as a whole.
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
/// Returns the errors of [`Server::serve`].
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    config: ServerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    Server::new(routes).config(config).clock(clock).serve(listener, shutdown).await
}
