//! Tests of the consumer and the publisher against librdkafka's mock cluster. They need no server.
//!
//! The mock cluster has no admin API, no deduplication and no compaction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod batches;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod failures;
mod finished;
mod operation;
mod positions;
mod provision;
mod publisher;
mod revocation;
