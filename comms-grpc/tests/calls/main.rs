//! Calls over loopback, through the channel to a server of comms-grpc or to a peer that the test controls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod call_metrics;
mod connection_failures;
mod deadline;
mod endpoints;
mod frames;
mod h2_peer;
mod messages;
mod protocol_proofs;
mod refusals;
mod response_ends;
mod retries;
mod server;
mod support;
