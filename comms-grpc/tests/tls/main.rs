//! TLS of the listener over loopback, with a raw TLS client: right and wrong certificates, hostile peers, and rotation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod identity;
mod limits;
mod log;
mod metrics;
mod refusals;
mod rotation;
mod shutdown;
mod support;
