//! Fan-out of pushes to WebSockets: a hub, sessions with bounded queues, and topics.
//!
//! # The problem
//! One push goes to many sockets. Each of them may be slow, vanish without closing, or be hostile. A server that waits
//! for each socket is as slow as the slowest client, a server that queues without a bound runs out of memory, and a
//! server that drops pushes silently leaves clients with stale state.
//!
//! # The promise
//! - [`Hub::publish`] encodes a push once and never blocks.
//! - All sessions of a topic receive its pushes in the same order, each push at most once.
//! - A session whose queue exceeds its limit is closed with [`close::TOO_SLOW`]. No push is skipped silently: a client
//!   that stays connected has missed nothing since it subscribed, and a client that was closed reads by REST what it
//!   missed.
//! - A slow session delays neither the publisher nor other sessions.
//! - [`HubConfig`] limits the memory of each session, the number of sessions and topics, the size and rate of client
//!   frames, the time without a frame, and the time of each write.
//!
//! # What breaks it
//! - A push is not stored. A client misses what was published before it subscribed or while it was not connected, and
//!   what was queued when the process died. The database must hold the state, and the push is only a hint to read it.
//! - An event may be pushed again by the application, for example after a crash. [`Push::id`] identifies duplicates.
//! - A callback of [`Session::allow`] that blocks delays other sessions.
//!
//! # Example
//! ```
//! use axum::{Router, extract::{State, WebSocketUpgrade}, routing::get};
//! use axum::{http::{HeaderMap, StatusCode}, response::{IntoResponse, Response}};
//! use comms_core::clock::Clock;
//! use comms_ws::{Hub, HubConfig, Push, Session, credentials};
//!
//! async fn open(State(hub): State<Hub>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
//!     // A service verifies the token. Here the token is the name of the user.
//!     let Some(user) = credentials(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
//!     let session = Session::new(user, vec![format!("user/{user}")]).allow(|topic| topic == "news");
//!     hub.accept(upgrade, &headers, session)
//! }
//!
//! # fn main() -> Result<(), comms_core::Error> {
//! let config = HubConfig::default().origins(["https://shop.example"]).max_sessions(50_000);
//! let hub = Hub::new(config, Clock::system())?;
//! let routes: Router = Router::new().route("/v1/events", get(open)).with_state(hub.clone());
//! hub.publish("user/ann", &Push {
//!     id: "order-service/0193".into(),
//!     event: "order.status.changed.v1".into(),
//!     time: "2026-11-21T07:00:00.123Z".into(),
//!     traceparent: None,
//!     data: serde_json::json!({"status": "PAID"}),
//! });
//! # drop(routes);
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//! | item | role |
//! |---|---|
//! | [`Hub`], [`HubConfig`], [`Stats`] | accepts sessions and publishes to them, its limits, and its current load |
//! | [`Session`] | the principal, the topics and the expiry that the application grants to a socket |
//! | [`Push`] | the message that is published |
//! | [`credentials`], [`SUBPROTOCOL`] | the token of a handshake, and the subprotocol of the frames |
//! | [`close`] | the close codes |
//!
//! # Limitations
//! A hub reaches the sessions of its own process only. WebSocket is the only transport. A client cannot resume a
//! session.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backplane;
#[cfg(feature = "client")]
pub mod client;
pub mod close;
mod frame;
mod handshake;
mod hub;
mod push;
mod session;

pub use axum;
pub use handshake::{SUBPROTOCOL, credentials};
pub use hub::{Hub, HubConfig, Stats};
pub use push::Push;
pub use session::Session;
