//! Which acknowledgements count, and what the application learns.

use std::sync::{Arc, Mutex};

use comms_core::clock::Clock;
use comms_ws::{
    Hub, HubConfig,
    backplane::{Memory, Published},
    close,
};
use serde_json::json;

use crate::{
    support::{Server, push},
    window::{Reader, TOPIC, publish, subscribe},
};

#[tokio::test]
async fn an_acknowledgement_without_effect_is_ignored() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(2)).await;
    publish(&server.hub, 1..=4).await;
    reader.reads(1..=2).await;
    // Not sent yet, not signed, another topic, and no cursor.
    reader.ack(3).await;
    reader.ack(u64::MAX).await;
    for cursor in ["public/a:0000000000000001:2:AAAA", "public/b:1:2:m~2", "user/ann:1:2:m", "", ":::"] {
        reader.client.send(json!({"type": "ack", "cursor": cursor})).await;
    }
    reader.ack(0).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(1).await;
    reader.reads([3]).await;
    reader.ack(1).await;
    assert!(reader.client.receives_nothing().await);
    assert!(reader.has_nothing().await);
}

/// An acknowledgement names the epoch: that of an old one does not count in the new one, whose offsets begin anew.
#[tokio::test]
async fn an_acknowledgement_of_an_old_epoch_does_not_count_in_the_new_one() {
    let clock = Clock::manual(std::time::Duration::from_secs(1_000));
    let memory = Memory::new(clock.clone()).max_bytes(64 * 1024);
    let hub = Hub::builder(HubConfig::default(), clock).backplane(memory).build().unwrap();
    let server = Server::start_with_hub(hub).await;
    let mut reader = Reader::open(&server, subscribe(3)).await;
    publish(&server.hub, 1..=3).await;
    reader.reads(1..=3).await;
    let old = reader.token.clone();
    // The backplane forgets the topic, because the positions of others fill its memory.
    for n in 0..100 {
        server.hub.publish(&format!("public/{n}"), &push(n, 2 * 1024)).await.unwrap();
    }
    publish(&server.hub, 4..=9).await;
    let missed = reader.client.next().await;
    assert_eq!(missed["reason"], "epoch", "{missed}");
    reader.token = missed["cursor"].as_str().unwrap().to_owned();
    reader.reads(4..=6).await;
    reader.client.send(json!({"type": "ack", "cursor": format!("{old}~3")})).await;
    assert!(reader.client.receives_nothing().await);
    reader.ack(3).await;
    reader.reads(7..=9).await;
}

#[tokio::test]
async fn the_application_learns_what_was_acknowledged() {
    let reports: Arc<Mutex<Vec<_>>> = Arc::default();
    let report = reports.clone();
    let hub = Hub::builder(HubConfig::default(), Clock::system())
        .acknowledgements(move |acknowledgement| {
            let (principal, topic) = (acknowledgement.principal.to_owned(), acknowledgement.topic.to_owned());
            report.lock().unwrap().push((principal, topic, acknowledgement.position));
        })
        .build()
        .unwrap();
    let server = Server::start_with_hub(hub).await;
    let mut reader = Reader::open(&server, subscribe(5)).await;
    let mut positions = Vec::new();
    for n in 1..=4 {
        let Published::New(Some(at)) = server.hub.publish(TOPIC, &push(n, 0)).await.unwrap() else {
            panic!("new")
        };
        positions.push(at);
    }
    reader.reads(1..=4).await;
    for offset in [2, 1, 2, 9, 4] {
        reader.ack(offset).await;
    }
    assert!(reader.has_nothing().await);
    let report = |at| ("ann".to_owned(), TOPIC.to_owned(), at);
    assert_eq!(*reports.lock().unwrap(), [report(positions[1]), report(positions[3])]);
}

#[tokio::test]
async fn acknowledgements_count_in_the_rate_of_frames() {
    let server = Server::start(|config| config.client_frames_per_second = 4).await;
    let mut reader = Reader::open(&server, subscribe(1)).await;
    for _ in 0..25 {
        reader.ack(1).await;
    }
    assert_eq!(reader.client.read_to_end().await.1, Some(close::POLICY));
}

/// The tokens of topics that the client has left since do not displace those of the others.
#[tokio::test]
async fn an_acknowledgement_also_of_topics_that_were_left_counts() {
    let server = Server::start(|_| {}).await;
    let mut reader = Reader::open(&server, subscribe(1)).await;
    for n in 0..4 {
        let topic = format!("public/left-{n}");
        reader.client.send(json!({"type": "subscribe", "topic": topic, "window": 1})).await;
        assert_eq!(reader.client.next().await["type"], "subscribed");
        reader.client.send(json!({"type": "unsubscribe", "topic": topic})).await;
        assert_eq!(reader.client.next().await["type"], "unsubscribed");
    }
    publish(&server.hub, 1..=2).await;
    reader.reads([1]).await;
    let left = (0..4).map(|n| format!("public/left-{n}:1:1:m,")).collect::<String>();
    reader.client.send(json!({"type": "ack", "cursor": format!("{left}{}~1", reader.token)})).await;
    reader.reads([2]).await;
}
