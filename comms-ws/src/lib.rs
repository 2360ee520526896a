//! Fan-out to sockets: a hub, its sessions, their topics, and what happens to the slow.
//!
//! The problem: one event must reach many people's sockets while any of them may be slow, gone
//! without a word, or hostile, and none of that may hold up the publisher or another session.
//!
//! The promise: [`Hub::publish`] encodes an event once and never waits; the sessions of a topic get its
//! events in one order, each at most once; a session whose queue is over its bound is closed with a code that
//! says so ([`close::TOO_SLOW`]), never silently skipped, so that a client that stays connected has
//! missed nothing since its subscription, and one that was closed knows to read by REST what it
//! may have missed. Memory per session is bounded ([`HubConfig`]), and so are frames, topics,
//! sessions, silence and every write.
//!
//! What breaks it: events published before the subscription, or while there is no session; a process that
//! dies with events in its queues. A push is a hint: the truth stays in the database, and every event has
//! an id by which a client tells copies apart.
//!
//! WebSocket comes first; server-sent events, resume and a Redis backplane join at the seams that are
//! here: a session's queue is drained by its transport, and publishing goes through a backplane.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod close;
mod frame;
mod handshake;
mod hub;
mod session;

pub use axum;
pub use frame::Event;
pub use handshake::{SUBPROTOCOL, credentials};
pub use hub::{Hub, HubConfig, Stats};
pub use session::Session;
