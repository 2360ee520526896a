//! The bounded listener over loopback, with ordinary and hostile peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod connections;
mod head;
mod problem_details;
mod progress;
mod shutdown;
#[allow(dead_code, unused_imports, reason = "the tests of TLS use the rest")]
mod support;
mod taken;
mod uploads;
