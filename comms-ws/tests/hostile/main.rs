//! Hostile clients over each transport: each is ended with the right code or within its limit, its memory is bounded, other
//! sessions are not affected, and everything is released afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod authentication;
mod drain;
mod floods;
mod frames;
mod limits;
mod metrics;
mod silence;
#[path = "../support/mod.rs"]
mod support;
mod topics;
mod witness;
