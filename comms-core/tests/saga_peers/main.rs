//! Sagas of other systems, written as definitions of this crate, and a table of behaviour for each.
//!
//! A row names a behaviour in plain words, and lists the inputs of one run with the commands that each input sends. Where
//! this crate differs from the other system on purpose, the row has the value of this crate and a comment has the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod eventuate;
mod ftgo;
mod masstransit;
mod nservicebus;
mod participants;
mod table;
mod temporal_transfer;
mod temporal_trip;
