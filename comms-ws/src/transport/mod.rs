//! The transports: how a request becomes a session, and how the session reaches its client.
//!
//! - `accept.rs`: chooses the transport of a request.
//! - `websocket/`: WebSockets, on a bare TCP socket where there is one, else on any stream.
//! - `sse.rs`: server-sent events.
//! - `resume.rs`: the topics of a request, and where its client resumes.
//! - `body.rs`, `problem.rs`: the body of a response, and the response of a refused request.

mod accept;
mod body;
mod problem;
mod resume;
mod sse;
mod websocket;

pub use body::Body;

use std::net::IpAddr;

use http::{Request, Response};

use crate::{hub::Hub, session::Session};

impl Hub {
    /// Accepts or refuses a request for a session, whose principal the caller has verified.
    ///
    /// A WebSocket handshake opens a WebSocket, and a GET with `Accept: text/event-stream` an event stream. The query
    /// parameter `topic`, which may be repeated, subscribes to further topics; `cursor`, or the header `Last-Event-ID`,
    /// resumes. The returned response must be sent; the session starts after it. A refused request gets problem details
    /// (RFC 9457):
    ///
    /// | status | type | reason |
    /// |---|---|---|
    /// | 400, 405, 426, 501 | `/problems/no-websocket` | the request opens no session |
    /// | 403 | `/problems/origin` | the `Origin` is not in [`HubConfig::origins`](crate::HubConfig::origins) |
    /// | 429 | `/problems/too-many-sessions` | the principal or the address has too many sessions |
    /// | 503 | `/problems/full` | the hub has [`HubConfig::max_sessions`](crate::HubConfig::max_sessions) sessions |
    /// | 503 | `/problems/full` | [`HubConfig::max_unauthenticated`](crate::HubConfig::max_unauthenticated) sockets have not authenticated yet, and this one has no token |
    /// | 503 | `/problems/draining` | [`drain`](Self::drain) was called |
    ///
    /// A 429 or 503 has `retry-after: 5`.
    #[must_use = "the response completes the handshake"]
    pub fn accept<B>(&self, request: Request<B>, session: Session) -> Response<Body> {
        let address = session.address;
        accept::accept(&self.0, request, Some(session), address)
    }

    /// Accepts or refuses a WebSocket whose client sends its token in the first frame, within 5 seconds, to the function
    /// of [`HubBuilder::authenticate`](crate::HubBuilder::authenticate). `address` is that of the client, whose sessions are limited.
    #[must_use = "the response completes the handshake"]
    pub fn accept_unauthenticated<B>(&self, request: Request<B>, address: Option<IpAddr>) -> Response<Body> {
        accept::accept(&self.0, request, None, address)
    }
}
