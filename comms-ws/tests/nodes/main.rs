//! Hubs on one backplane: the end of sessions on all nodes, and presence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the limits of waits that fail are in real time")]

#[allow(dead_code, reason = "not all faults are of use here")]
#[path = "../faults/backplane.rs"]
mod backplane;
mod disconnect;
mod presence;
mod support;
