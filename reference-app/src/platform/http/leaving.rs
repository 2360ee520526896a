//! The time between the request to shut down and the end of the listeners.

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

/// Whether the process is about to close its listeners. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// From now on, each HTTP/1 response of [`around`](Self::around) has `Connection: close`. So the clients move their
    /// connections to other processes one response at a time, and none sends a request into a connection that the
    /// end of the listener closes. HTTP/2 has GOAWAY for it.
    pub fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    /// `routes`, whose responses end their connections once [`begin`](Self::begin) was called.
    #[must_use]
    pub fn around(&self, routes: Guarded) -> Guarded {
        routes.map(|routes| routes.layer(from_fn_with_state(self.clone(), close)))
    }
}

async fn close(State(leaving): State<Leaving>, request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    let stays = !is_http1 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !stays && leaving.0.load(Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
