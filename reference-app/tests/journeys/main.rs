//! An order's journey, from the click to the socket: the same test in every shape of the system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

mod away;
mod bad_input;
mod faults;
mod hostile;
mod order;
mod peer;
mod poison;
mod road;
mod start;
