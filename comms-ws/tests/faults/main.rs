//! Clients behind a proxy that cuts and stalls, and hubs on a backplane that loses, repeats and reorders: each client has
//! every message once and in order, or was notified where some are missing; and the hub recovers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod backplane;
mod deliveries;
mod joins;
mod network;
mod outages;
mod pending;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
