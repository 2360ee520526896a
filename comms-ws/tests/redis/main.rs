//! `Redis` on real servers.
//!
//! The tests of the contract and of lost messages use the shared server, each with a prefix of its own. Tests that kill,
//! pause or flush a server start one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod access;
mod behind;
#[path = "../backplane/contract.rs"]
mod contract;
mod crash;
mod epochs;
mod follower;
mod groups;
mod hubs;
mod lost;
mod misuse;
#[path = "../backplane/node.rs"]
mod node;
mod pause;
mod random;
mod running;
mod server;
mod shared;
mod windows;
