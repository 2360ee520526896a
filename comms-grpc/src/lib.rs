//! Deadline-aware gRPC between services: a client channel for generated tonic code, and server layers with limits.
//!
//! # The problem
//! A call without a deadline waits forever. A deadline that is not passed on makes every service behind the caller work
//! for a caller that is gone. tonic enforces `grpc-timeout` only until the response headers and does not pass the
//! remaining time on; its timer starts after queueing and connecting, and its status is CANCELLED. A status code alone
//! does not show whether the call was executed, so a caller cannot repeat a failed call safely.
//!
//! # The promise
//! - Every call through a [`Channel`] ends with DEADLINE_EXCEEDED at the latest at the earlier of two deadlines,
//!   whatever the peer does: that of the caller's [`Context`](comms_core::context::Context), and that of the channel. The
//!   request carries the remaining time and the trace.
//! - The [`ServerLayer`] (feature `server`) runs the handler in the context of the caller, and enforces the deadline on
//!   the handler and on the response stream.
//! - A [`Channel`] retries a call only if the call was provably not executed, or if executing it twice is harmless, and
//!   within a retry budget. It sends a call again at once if the peer has provably not processed it, distributes calls
//!   over several endpoints, and skips endpoints that fail.
//! - [`from_status`] converts every status to an [`ErrorKind`](comms_core::ErrorKind). The kinds `NotExecuted` and
//!   `Rejected` come only with a proof that no handler ran.
//! - [`serve`] and [`listen`] (feature `server`) accept connections within limits: silent, slow and hostile peers hold
//!   neither descriptors nor memory without a bound.
//!
//! # What breaks it
//! - Code that blocks a thread of the executor delays the timers of all calls on that thread.
//! - A proxy that repeats calls by itself: a proof concerns only the last attempt.
//! - A status message of more than 1 MiB on the wire costs the connection.
//!
//! Clocks of different hosts are not compared, because a request carries the remaining time and not a time of day.
//!
//! # Example
//! No server listens on the port of this example, so the call fails, with the proof that it was not executed:
//! ```
//! use comms_core::ErrorKind;
//! use comms_grpc::{Channel, from_status, keyed, tonic};
//! use http::uri::PathAndQuery;
//! use std::time::Duration;
//! use tonic_prost::ProstCodec;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = Channel::builder("http://127.0.0.1:1").peer("payment").timeout(Duration::from_millis(800)).build()?;
//! // With generated code: PaymentsClient::new(channel).charge(request)
//! let mut payments = tonic::client::Grpc::new(channel);
//! let request = keyed(tonic::Request::new("charge".to_owned()), "order-7")?;
//! let path = PathAndQuery::from_static("/payment.v1.Payments/Charge");
//! payments.ready().await?;
//! let result = payments.unary(request, path, ProstCodec::<String, String>::default()).await;
//! let error = from_status(&result.unwrap_err());
//! assert_eq!(error.kind, ErrorKind::NotExecuted);
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//! | side | items |
//! |---|---|
//! | client | [`Channel`], [`ChannelBuilder`], [`Balance`], [`ChannelSnapshot`], [`keyed`], [`from_status`], [`field_errors`], [`Resume`] |
//! | handler | [`key_of`], [`to_status`], [`refused`] |
//! | server (feature `server`) | [`Server`], [`serve`], [`ServerConfig`], [`ServerLayer`], [`Access`], [`Replay`] |
//! | TLS (feature `tls`) | [`tls`]; an authority for development and tests (feature `development-authority`) |
//! | rules of access by the scopes of a token (feature `jwt`) | `AccessBuilder::verifier`, `Caller::scope` |
//! | the reflection service (feature `reflection`) | `Server::reflection` |
//! | listener for any HTTP service (feature `server`) | [`listen`], [`ListenerConfig`], [`Protocols`], [`Peer`], [`RequestBody`], [`take_socket`] |
//!
//! # Limitations
//! A call whose response has begun is not retried. The endpoints of a channel are given as URIs or by DNS. Only requests of
//! one message are hedged.
// Without the feature, the names of its items lead to the table above.
#![cfg_attr(
    not(feature = "server"),
    doc = "",
    doc = "[`ServerLayer`]: #main-types",
    doc = "[`serve`]: #main-types",
    doc = "[`Server`]: #main-types",
    doc = "[`Access`]: #main-types",
    doc = "[`Replay`]: #main-types",
    doc = "[`ServerConfig`]: #main-types",
    doc = "[`listen`]: #main-types",
    doc = "[`ListenerConfig`]: #main-types",
    doc = "[`Protocols`]: #main-types",
    doc = "[`Peer`]: #main-types",
    doc = "[`RequestBody`]: #main-types",
    doc = "[`take_socket`]: #main-types"
)]
#![cfg_attr(not(feature = "tls"), doc = "", doc = "[`tls`]: #main-types")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod deadline_timer;
mod evidence;
mod idempotency_key;
mod message_frames;
mod method_meter;
#[cfg(feature = "server")]
mod peer_identity;
#[cfg(feature = "server")]
mod server;
mod status;
mod status_headers;
#[cfg(feature = "tls")]
pub mod tls;

pub use client::{
    Balance, Channel, ChannelBuilder, ChannelSnapshot, EndpointSnapshot, EndpointState, Resume, ResumeConfig,
    Resuming,
};
pub use idempotency_key::{key_of, keyed};
#[cfg(feature = "server")]
pub use peer_identity::PeerIdentity;
#[cfg(feature = "server")]
pub use server::{
    Access, AccessBuilder, Caller, ListenerConfig, Peer, Protocols, Replay, RequestBody, Server,
    ServerConfig, ServerLayer, ServerService, listen, serve, take_socket,
};
pub use status::{field_errors, from_status, refused, to_status};
pub use tonic;
