//! The client against a scripted server, and the clock of the client stands still unless a test moves it.
#![allow(clippy::disallowed_methods)]

mod drain;
mod ends;
mod queue;
mod resume;
mod session;
mod support;
#[cfg(feature = "client-tls")]
mod tls;
mod topics;
