//! Streams that are opened again after a break, against a server of comms-grpc over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod breaks;
mod limits;
mod support;
