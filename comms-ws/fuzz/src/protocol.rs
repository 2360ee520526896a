//! Targets for the text frames of clients: one frame, and the frames of a session.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Encoding, Hub, HubConfig, Link, Outgoing, Session, testing};
use futures::FutureExt;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use super::cursor::key;

/// The maximum number of topics of a session.
const MAX_TOPICS: usize = 3;
/// The longest frame.
const MAX_FRAME: usize = 400;
/// The types of frames that answer a client.
const ANSWERS: [&str; 8] =
    ["welcome", "subscribed", "unsubscribed", "missed", "pong", "close", "error", "drain"];

/// The input is a frame. What is read of a frame stands in it, and is the same when it is printed and read again.
pub(super) fn client_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(read) = testing::client_frame(text) else { return };
    assert_eq!(testing::client_frame(&read).as_ref(), Some(&read), "printed and read");
    let sent: Value = serde_json::from_str(text).expect("a frame is JSON");
    let read: Value = serde_json::from_str(&read).expect("JSON");
    for (name, value) in read.as_object().expect("an object") {
        let is_default = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        match (name.as_str(), sent.get(name)) {
            (_, None) => assert!(is_default, "{name} was not sent"),
            // An empty list is the same as none.
            ("filter", Some(sent)) => {
                for list in ["events", "keys"] {
                    let values = |filter: &Value| filter.get(list).and_then(Value::as_array).cloned();
                    assert_eq!(values(value).unwrap_or_default(), values(sent).unwrap_or_default());
                }
            }
            (_, Some(sent)) => assert_eq!(value, sent, "{name}"),
        }
    }
}

thread_local! {
    static RUNTIME: Runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
}

/// The first line is the cursor of a session, and each further line a frame of its client.
pub(super) fn session(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(run(&String::from_utf8_lossy(data))));
}

/// Runs a session on a hub of its own, so that a result does not depend on the inputs before.
async fn run(text: &str) {
    let config = HubConfig::default()
        .max_topics(MAX_TOPICS)
        .max_client_frame(MAX_FRAME)
        .client_frames_per_second(1_000);
    // The time stands still.
    let clock = Clock::manual(Duration::from_secs(1_700_000_000));
    let hub = Hub::builder(config, clock).cursor_keys([key(7)]).build().expect("a valid configuration");
    let mut lines = text.split('\n');
    let session = Session::new("ann", vec!["user/ann".into()]).allow(|topic| topic.starts_with("open/"));
    let mut link = hub.open(session, Encoding::Json, lines.next()).expect("a session");
    answers(&mut link).await;
    for line in lines.take(64) {
        let result = link.receive(line).await;
        assert!(line.len() <= MAX_FRAME || result.is_err(), "a frame of {} bytes", line.len());
        answers(&mut link).await;
        assert!(hub.stats().topics <= MAX_TOPICS);
        if result.is_err() {
            break;
        }
    }
    drop(link);
    settle().await;
    let stats = hub.stats();
    assert_eq!((stats.sessions, stats.topics, stats.queued_bytes, stats.held_bytes), (0, 0, 0, 0));
    hub.drain(Duration::from_secs(1)).await;
}

/// Lets the tasks of the hub run.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Checks all frames that wait for the client.
async fn answers(link: &mut Link) {
    settle().await;
    while let Some(outgoing) = link.next().now_or_never() {
        let Outgoing::Frame(frame) = outgoing else { return };
        let frame: Value = serde_json::from_slice(&frame).expect("a frame is JSON");
        assert!(ANSWERS.iter().any(|answer| frame["type"] == *answer), "{frame}");
        if frame["type"] == "subscribed" {
            let topic = frame["topic"].as_str().expect("a topic");
            assert!(topic == "user/ann" || topic.starts_with("open/"), "{topic} is not allowed");
        }
    }
}
