//! A bounded listener and its peers, hostile and ordinary, over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod connections;
mod head;
mod progress;
mod refusals;
mod server;
mod shutdown;
