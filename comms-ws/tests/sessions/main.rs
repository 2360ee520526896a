//! Sockets over loopback: a hub behind axum, and clients of tokio-tungstenite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod acknowledgements;
mod client;
mod delivery;
mod handshake;
mod limits;
mod refresh;
mod slow;
mod subscriptions;
mod support;
mod window;
