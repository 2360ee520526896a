//! Crashes of processes and servers while orders are placed. Afterwards the databases are checked: no acknowledged
//! order is lost, nothing was done twice, every order was delivered or has failed with everything undone, and the events of
//! each order are in sequence.
//!
//! `scripts/test` runs these tests last and one at a time, because they kill the servers of the other tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod books;
mod load;
mod processes;
mod releases;
mod servers;
