//! An order's journey, from the click to the socket: the same test in every shape of the system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

mod added;
mod admin;
mod away;
mod bad_input;
mod dev_token;
mod edge;
mod ends;
mod faults;
mod first_use;
mod hostile;
mod metrics;
mod order;
mod orders_list;
mod page;
mod peer;
mod poison;
mod road;
mod sockets;
mod start;
mod waiting;
