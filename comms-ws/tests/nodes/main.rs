//! What the hubs of several nodes know of each other: whose sessions to end, and who is present.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the limits of waits that fail are in real time")]

#[allow(dead_code, reason = "not all faults are of use here")]
#[path = "../faults/backplane.rs"]
mod backplane;
mod disconnect;
mod presence;
mod support;
