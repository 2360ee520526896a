//! The transports: how a request becomes a session, and how the session reaches its client.
//!
//! - `accept.rs`: chooses the transport of a request.
//! - `websocket/`: WebSockets, on a bare TCP socket where there is one, else on any stream.
//! - `sse.rs`: server-sent events.

mod accept;
pub(crate) mod sse;
mod websocket;

pub(crate) use accept::accept;
