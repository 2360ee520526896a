//! TLS of the listener over loopback, with a raw TLS client: right and wrong certificates, hostile peers, and rotation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[path = "../calls/support.rs"]
#[allow(dead_code, reason = "the tests of calls use the rest")]
mod calls;
mod channel;
mod identity;
mod limits;
mod metrics;
mod refusals;
mod rotation;
mod shutdown;
#[path = "../listener/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the listener use the rest")]
mod support;
