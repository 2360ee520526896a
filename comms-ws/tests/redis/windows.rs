//! A subscription with a window, whose history is on the shared server.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{
    CursorKey, Encoding, Hub, HubConfig, Push, Session, TopicOptions,
    backplane::{Redis, RedisConfig},
};
use serde_json::json;

use crate::{
    running::{next, run},
    server::{config, shared_url},
};

const TOPIC: &str = "orders";
const EVENTS: u64 = 300;
const WINDOW: u64 = 7;

/// Starts a hub whose backplane runs until the end of the test.
fn hub(config: RedisConfig) -> Hub {
    let redis = Redis::new(config, Clock::system()).unwrap();
    let options = TopicOptions::default().history(1_000, Duration::from_secs(600));
    let limits = HubConfig::default().topic("", options).client_frames_per_second(10_000);
    let hub = Hub::builder(limits, Clock::system()).cursor_keys([CursorKey::random().unwrap()]);
    let hub = hub.backplane(redis.clone()).build().unwrap();
    run(redis);
    hub
}

/// A node publishes while the session of the other node reads a few events at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis; run scripts/test"]
async fn a_session_with_a_window_reads_what_waits_from_the_server() {
    let config = config(&shared_url());
    let (reader, publisher) = (hub(config.clone()), hub(config));
    let session = Session::new("ann", Vec::new()).allow(|_| true);
    let mut link = reader.open(session, Encoding::Json, None).unwrap();
    assert_eq!(next(&mut link).await["type"], "welcome");
    link.receive(&json!({"type": "subscribe", "topic": TOPIC, "window": WINDOW}).to_string()).await.unwrap();
    let subscribed = next(&mut link).await;
    let token = subscribed["cursor"].as_str().expect("subscribed").to_owned();
    let publishing = tokio::spawn(async move {
        for n in 1..=EVENTS {
            let push = Push::new(format!("test/{n}"), "test.happened.v1", json!({"n": n}));
            publisher.publish(TOPIC, &push).await.unwrap();
        }
    });
    let mut acknowledged = 0;
    for n in 1..=EVENTS {
        let event = next(&mut link).await;
        assert_eq!((&event["offset"], &event["data"]["n"]), (&json!(n), &json!(n)), "{event}");
        assert!(n - acknowledged <= WINDOW, "{n} after {acknowledged}");
        if n - acknowledged == WINDOW || n % 5 == 0 {
            acknowledged = n - n % 2;
            let ack = json!({"type": "ack", "cursor": format!("{token}~{acknowledged}")});
            link.receive(&ack.to_string()).await.unwrap();
        }
    }
    publishing.await.unwrap();
}
