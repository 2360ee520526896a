//! Real calls over loopback: a server put together by hand, and the channel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod client;
mod deadline;
mod endings;
mod frames;
mod measured;
mod messages;
mod probe;
mod refusals;
mod server;
