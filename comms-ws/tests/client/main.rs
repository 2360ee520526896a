//! The client against a scripted server. The clock of the client stands still unless a test moves it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the limits of the tests are in real time")]

mod drain;
mod ends;
mod hub;
mod limits;
mod queue;
mod resume;
mod session;
mod support;
#[cfg(feature = "client-tls")]
mod tls;
mod topics;
mod window;
