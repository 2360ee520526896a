//! Backplanes that run until the end of a test, and what arrives at their nodes and sessions.

use std::time::Duration;

use comms_core::{clock::Clock, shutdown::Shutdown};
use comms_ws::{
    Link, Outgoing,
    backplane::{Backplane, Position, Redis},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::node::{Arrived, Node};

/// Runs a backplane until the end of the test.
pub(crate) fn run(redis: Redis) {
    let shutdown = Shutdown::new(Clock::system());
    let signal = shutdown.stage("backplane").signal();
    tokio::spawn(async move {
        redis.run(signal).await;
        drop(shutdown);
    });
}

/// Waits until the message at `position` of `topic` has arrived at a node.
pub(crate) async fn until_position(node: &Node, topic: &str, position: Position) {
    let has_arrived = |arrived: &Arrived| arrived.position == Some(position);
    node.recorder.until(topic, |recorder| recorder.of(topic).iter().any(has_arrived)).await;
}

/// Returns the next frame of a session.
pub(crate) async fn next(link: &mut Link) -> Value {
    match timeout(Duration::from_secs(30), link.next()).await.expect("a frame") {
        Outgoing::Frame(text) => serde_json::from_slice(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}
