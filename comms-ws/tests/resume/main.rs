//! Clients that resume: each message that was missed arrives in order and once, or the client learns that some are lost and
//! none of them arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod addressable;
mod cursors;
mod history;
mod many;
mod nodes;
mod races;
#[path = "../support/mod.rs"]
mod support;
mod transports;
mod windows;
