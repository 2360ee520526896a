//! What a service returns when it starts: the routes to serve, handlers and background loops.

use std::{convert::Infallible, pin::Pin};

use axum::{http, response::IntoResponse};
use comms_core::{Error, shutdown::ShutdownSignal, transport::BoxHandler};
use comms_ws::{Hub, backplane::Redis};
use tonic::{body::Body, codegen::Service, server::NamedService, service::Routes};

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
    /// A gRPC service, see [`Serves::grpc`].
    Grpc {
        /// The full name of the service, such as `comms.payments.v1.Payments`.
        name: &'static str,
        /// The routes of its methods.
        routes: Routes,
    },
    /// HTTP routes.
    Http(Guarded),
    /// The sessions of clients.
    Sockets {
        /// The routes that open sessions.
        routes: Guarded,
        /// The hub, which is drained at shutdown.
        hub: Hub,
        /// The backplane of the hub, which runs until the hub is drained.
        backplane: Option<Redis>,
    },
}

impl Serves {
    /// Returns the routes of `service`, a server that tonic has generated.
    #[must_use]
    pub fn grpc<S>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response: IntoResponse, Error = Infallible, Future: Send>,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        Self::Grpc { name: S::NAME, routes: Routes::new(service) }
    }

    pub(super) const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Nothing => None,
            Self::Grpc { .. } => Some(Protocol::Grpc),
            Self::Http(_) => Some(Protocol::Http),
            Self::Sockets { .. } => Some(Protocol::Sockets),
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
