//! A topic whose last message is lost and not kept any more, on a hub.

use std::{collections::HashSet, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{CursorKey, Encoding, Hub, HubConfig, Push, Session, TopicOptions, backplane::Redis};
use serde_json::{Value, json};

use crate::{
    running::{next, run},
    server::{config, shared_url},
};

/// Topics without history have lost nothing: their sessions are not notified.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn only_the_topic_that_is_behind_is_repaired() {
    let config = config(&shared_url()).check_interval(Duration::from_millis(20));
    let meta = format!("{{{}:kept}}:meta", config.prefix);
    let redis = Redis::new(config, Clock::system()).unwrap();
    let limits = HubConfig::default().topic("plain/", TopicOptions::default().without_history());
    let hub = Hub::builder(limits, Clock::system()).cursor_keys([CursorKey::random().unwrap()]);
    let hub = hub.backplane(redis.clone()).build().unwrap();
    run(redis);
    let session = Session::new("ann", vec!["kept".into(), "plain/1".into()]);
    let mut ann = hub.open(session, Encoding::Json, None).unwrap();
    assert_eq!(next(&mut ann).await["type"], "welcome");
    let push = |n: u64| Push::new(n.to_string(), "e", json!({ "n": n }));
    hub.publish("kept", &push(1)).await.unwrap();
    assert_eq!(next(&mut ann).await["offset"], 1);
    let client = redis::Client::open(shared_url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("HINCRBY").arg(meta).arg("top").arg(1).exec_async(&mut client).await.unwrap();
    let missed = next(&mut ann).await;
    assert_eq!((&missed["type"], &missed["topic"]), (&json!("missed"), &json!("kept")), "{missed}");
    hub.publish("kept", &push(3)).await.unwrap();
    hub.publish("plain/1", &push(1)).await.unwrap();
    let events = [next(&mut ann).await, next(&mut ann).await];
    let expected = HashSet::from([("event", "kept"), ("event", "plain/1")]);
    let text = |event: &'_ Value, name: &str| event[name].as_str().unwrap().to_owned();
    let events: HashSet<_> = events.iter().map(|event| (text(event, "type"), text(event, "topic"))).collect();
    assert_eq!(events, expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect());
}
