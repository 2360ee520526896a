//! Closes client connections between the shutdown request and the end of the listeners.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Version, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
};

use super::Guarded;

/// Whether the process is about to close its listeners. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Makes each HTTP/1 response of [`layer`](Self::layer) carry `Connection: close` from now on.
    ///
    /// Clients then move their connections to other processes, one response at a time, and no client sends a request
    /// into a connection that the listener closes. HTTP/2 uses GOAWAY instead.
    pub fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    /// Wraps `routes` so that responses close their connections after [`begin`](Self::begin) was called.
    #[must_use]
    pub fn layer(&self, routes: Guarded) -> Guarded {
        routes.map(|routes| routes.layer(from_fn_with_state(self.clone(), close)))
    }
}

async fn close(State(draining): State<Draining>, request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    let stays = !is_http1 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !stays && draining.0.load(Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
