//! Calls through a proxy that cuts, resets, refuses and answers by itself: a handler that must not run twice runs at
//! most once, and no failure claims more than is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]
#![allow(dead_code, reason = "the support of tests/calls is shared")]

#[path = "../calls/frames.rs"]
mod frames;
mod once;
mod proxy;
#[path = "../calls/support.rs"]
mod support;
