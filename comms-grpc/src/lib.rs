//! gRPC between services: a client channel and server layers that any generated tonic code takes.
//!
//! The problem: a call without a deadline waits for ever, and a deadline that is not handed on makes
//! every hop behind it work for a caller that has gone. tonic reads `grpc-timeout` and stops at the
//! response headers; it does not pass the rest on, its timer starts behind the queue and the connect, and
//! its answer is CANCELLED.
//!
//! The promise: every call through a [`Channel`] ends by the earlier of the caller's
//! [`Context`](comms_core::context::Context) deadline and the channel's own limit, whatever the peer does, with
//! DEADLINE_EXCEEDED; the request carries the time that remains, and the trace. On the other side
//! (feature `server`) the server layer turns that into the handler's context and enforces it on the handler
//! and on the response stream. Status codes and [`ErrorKind`](comms_core::ErrorKind)s map by one table,
//! see [`status`]: a failed call is reported as not executed only with proof.
//!
//! What breaks it: blocking the executor thread; clocks are not involved, since only what remains
//! is sent.
//!
//! With the feature `server`, `listen` is the accept loop of `serve`: it serves any HTTP service within the same bounds.
//!
//! Retry, hedging, breaker and bulkhead stand between the deadline and the transport when they come; TLS
//! is an option of the transport.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod bound;
mod client;
mod evidence;
mod key;
mod measure;
#[cfg(feature = "server")]
mod server;
pub mod status;

pub use client::{Channel, ChannelBuilder};
pub use key::{key_of, keyed};
#[cfg(feature = "server")]
pub use server::{
    ListenerConfig, Peer, Protocols, RequestBody, ServerConfig, ServerLayer, ServerService, listen, serve,
};
pub use status::{from_status, refused, to_status};
pub use tonic;
