//! The contract of `Backplane`, on `Memory`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod contract;
mod node;

use std::{sync::Arc, time::Duration};

use comms_core::clock::Clock;
use comms_ws::backplane::Memory;

use contract::Nodes;
use node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    let clock = Clock::manual(Duration::ZERO);
    let memory = Memory::new(clock.clone());
    let node = || Node::new(Arc::new(memory.clone()));
    let pass = move |time| {
        clock.advance(time);
        Box::pin(async {}) as contract::Passed
    };
    contract::all(&Nodes { a: node(), b: node(), pass: Box::new(pass) }).await;
}
