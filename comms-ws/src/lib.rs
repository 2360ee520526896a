//! Fan-out of pushes to clients over WebSocket and server-sent events: a hub, topics with history, sessions with bounded
//! queues, and clients that resume.
//!
//! # The problem
//! One push goes to many clients. Each of them may be slow, vanish without closing, reconnect, or be hostile. A server that
//! waits for each socket is as slow as the slowest client, a server that queues without a bound runs out of memory,
//! and a server that drops pushes silently leaves clients with stale state.
//!
//! # The promise
//! - [`Hub::publish`] encodes a push once, for any number of sessions, and never waits for a client.
//! - All sessions of a topic receive its pushes in the same order, each push at most once.
//! - In a topic with history, which is the default, each push has an offset. A client that reconnects with its cursor
//!   receives every push that it has missed, in order and once, or learns that some are lost: never a part of them
//!   silently. The cursor is signed, works on all nodes, and is the `Last-Event-ID` of an event stream.
//! - A session whose queue is full is closed, or loses the oldest messages, or keeps the newest message of each key, as
//!   the topic says ([`SlowConsumer`]). It is notified of what it has lost.
//! - [`Hub::disconnect`] ends the sessions of a user on all nodes, and [`Hub::present`] lists the users of a topic on all
//!   nodes, also after an interruption of the backplane or the death of a node.
//! - A subscription with a window has at most so many events that its client has not acknowledged. The others wait in the
//!   history, and the application learns what was acknowledged ([`HubBuilder::acknowledgements`]).
//! - A slow session delays neither the publisher nor other sessions.
//! - [`HubConfig`] limits the memory of each session, the size of a push, the number of sessions in all, without a token, of
//!   a user and of an address, the number of topics, the size and rate of client frames, the time without a frame, and the
//!   time of each write.
//!
//! # What breaks it
//! - Messages in a topic without history have no offset. A client misses what was published while it was not connected.
//! - The history is bounded by number and age. A client that was away for longer learns that messages are lost, and reads
//!   the state from the application.
//! - With the backplane in memory ([`backplane::Memory`]) the history ends with the process.
//! - A callback of [`Session::allow`] that blocks delays other sessions.
//!
//! # Example
//! ```
//! use axum::{Router, extract::{Request, State}, routing::get};
//! use axum::{http::StatusCode, response::{IntoResponse, Response}};
//! use comms_core::clock::Clock;
//! use comms_ws::{Hub, HubConfig, Push, Session, credentials};
//!
//! // One route for WebSockets and event streams.
//! async fn events(State(hub): State<Hub>, request: Request) -> Response {
//!     // A service verifies the token. Here the token is the name of the user.
//!     let Some(user) = credentials(request.headers()).map(str::to_owned) else {
//!         return StatusCode::UNAUTHORIZED.into_response();
//!     };
//!     let session = Session::new(&*user, vec![format!("user/{user}")]).allow(|topic| topic == "news");
//!     hub.accept(request, session).into_response()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), comms_core::Error> {
//! let config = HubConfig::default().origins(["https://shop.example"]).max_sessions(50_000);
//! let hub = Hub::new(config, Clock::system())?;
//! let routes: Router = Router::new().route("/v1/events", get(events)).with_state(hub.clone());
//! let push = Push::new("order-service/0193", "order.status.changed.v1", serde_json::json!({"status": "PAID"}));
//! hub.publish("user/ann", &push).await?;
//! # drop(routes);
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//! | item | role |
//! |---|---|
//! | [`Hub`], [`HubConfig`], [`HubBuilder`] | accepts sessions and publishes to them; its limits; its keys, backplane and check of tokens |
//! | [`PrincipalLimit`] | what happens to a further session of a principal that has the maximum |
//! | [`Session`] | the principal, the topics and the expiry that the application grants to a client |
//! | [`Push`] | the message that is published |
//! | [`TopicOptions`], [`SlowConsumer`], [`Filter`] | the history of a topic, what happens to slow clients, and the part of a topic that a client wants |
//! | [`Acknowledgement`] | what a client has handled |
//! | [`backplane`] | the seam to other nodes, and the backplane of a single one |
//! | [`Link`], [`Encoding`] | the seam for further transports |
//! | [`BareSocket`] | the seam to a server that wraps its sockets |
//! | [`credentials`], [`SUBPROTOCOL`] | the token of a handshake, and the subprotocol of the frames |
//! | [`close`] | the close codes |
//! | `client` | a client that stays connected and resumes (feature `client`) |
//!
//! # Features
//! No feature is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `client` | the client in Rust; the folder `web` of this crate has one for browsers, without dependencies |
//! | `client-tls` | `wss` URLs for the client; the application installs the provider of rustls |
//! | `redis` | `backplane::Redis`: the hubs of several nodes, and the history, on Redis |
//! | `testing` | an echo of WebSocket frames and the parsers, for the tests of this crate |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backplane;
#[cfg(feature = "client")]
pub mod client;
pub mod close;
mod config;
mod connection;
mod credentials;
mod cursor;
mod environment;
mod fanout;
mod feed;
mod hub;
mod message;
mod meters;
mod protocol;
mod push;
mod refusal;
mod session;
mod shard;
mod socket;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod topic;
mod transport;
mod websocket;

/// The source of the ES module `comms-events.js`, the client for browsers, for an application that serves it with its page.
/// The folder `web` of this crate has it with its types.
pub static BROWSER_CLIENT: &str = include_str!("../web/comms-events.js");

pub use config::{HubConfig, PrincipalLimit};
pub use credentials::{SUBPROTOCOL, credentials};
pub use cursor::CursorKey;
pub use hub::{Hub, HubBuilder, Stats, TopicStats};
pub use message::Encoding;
pub use push::Push;
pub use session::{Acknowledgement, Link, Outgoing, Session, session_topic};
pub use socket::BareSocket;
pub use topic::{Filter, SlowConsumer, TopicOptions};
pub use transport::Body;
