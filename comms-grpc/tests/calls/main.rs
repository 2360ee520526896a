//! Calls over loopback, through the channel to a server of comms-grpc or to a peer that the test controls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[cfg(feature = "jwt")]
mod access;
mod call_metrics;
mod chain;
mod connection_failures;
mod deadline;
mod endpoints;
mod frames;
mod h2_peer;
mod health;
mod health_check;
mod hedges;
mod last_resort;
mod message_limits;
mod messages;
mod outliers;
mod protocol;
mod protocol_proofs;
mod raw_peer;
#[cfg(feature = "reflection")]
mod reflection;
mod refusals;
mod replay;
mod request_end;
mod response_ends;
mod retries;
mod server;
mod service_config;
mod service_config_updates;
mod shed;
mod stream_limits;
mod support;
