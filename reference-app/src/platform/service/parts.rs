//! What a service returns when it starts: the routes to serve, handlers and background loops.

use std::pin::Pin;

use comms_core::{Error, shutdown::ShutdownSignal, transport::BoxHandler};
use comms_ws::Hub;
use tonic::service::Routes;

use super::registration::Protocol;
use crate::platform::http::Guarded;

/// A running service, as [`Service::start`](super::Service::start) returns it.
#[derive(Default)]
pub struct Parts {
    /// The routes of the listener. They must match the registered [`Protocol`].
    pub serves: Serves,
    /// The handler of each registered group.
    pub handlers: Vec<(&'static str, BoxHandler)>,
    /// Background loops. They stop in the shutdown stage of the consumers.
    pub loops: Vec<Loop>,
    /// Commands to try, printed after the start.
    pub hint: Option<String>,
}

/// The routes of a listener.
#[derive(Default)]
pub enum Serves {
    /// The service has no listener.
    #[default]
    Nothing,
    /// gRPC routes.
    Grpc(Routes),
    /// HTTP routes.
    Http(Guarded),
    /// The routes of WebSocket handshakes, and the hub to drain at shutdown.
    Sockets(Guarded, Hub),
}

impl Serves {
    pub(super) const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Nothing => None,
            Self::Grpc(_) => Some(Protocol::Grpc),
            Self::Http(_) => Some(Protocol::Http),
            Self::Sockets(..) => Some(Protocol::Sockets),
        }
    }
}

/// The future of a [`Loop`].
pub type Run = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A background loop of a service.
pub struct Loop {
    /// The name, for logs.
    pub name: &'static str,
    /// Runs the loop until the shutdown signal fires.
    pub run: Box<dyn FnOnce(ShutdownSignal) -> Run + Send>,
}
