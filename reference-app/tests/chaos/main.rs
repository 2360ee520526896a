//! Kills, while orders stream in, and then the databases are counted: nothing acknowledged is lost, nothing
//! happens twice, every order's statuses keep their order. `scripts/test` runs these last, one at a time,
//! since they kill servers that others share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod processes;
mod releases;
mod servers;
