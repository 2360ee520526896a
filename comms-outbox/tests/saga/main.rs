//! The proof of the saga coordinator: an order with a payment, a reservation of stock and a shipment, in services that
//! keep books. Whatever is lost, repeated, late or killed, a run ends completed with everything done once, or failed
//! with everything undone once.
//!
//! - `random.rs`: random interleavings of everything that can happen, on SQLite. proptest shrinks and prints a failure.
//! - `states.rs`: every interleaving of two steps to a small depth, and a crash at every call of the store.
//! - `kills.rs`: a process that kills itself with SIGKILL at each of its calls, on SQLite and PostgreSQL.
//! - `peers.rs`: two processes that are killed at random moments.
//!
//! `COMMS_SAGA_CASES`, `COMMS_SAGA_DEPTH`, `COMMS_SAGA_STRIDE`, `COMMS_SAGA_RUNS` and `COMMS_SAGA_KILLS` make the tests longer
//! or shorter.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod backend;
mod books;
mod child;
mod kills;
mod orders;
mod peers;
mod points;
mod random;
#[path = "../crash/rng.rs"]
mod rng;
mod services;
mod states;
mod world;

/// Returns the number in an environment variable, or `default`.
fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
