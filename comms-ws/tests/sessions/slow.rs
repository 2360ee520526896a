//! A slow reader is closed and affects no other session.

use std::time::Duration;

use comms_ws::{SlowConsumer, TopicOptions, close};
use serde_json::json;

use crate::support::{Server, millis, push};

/// The size of a push of these tests, so that few fill the buffers of the kernel.
const LARGE: usize = 64 * 1024;

/// Publishes pushes to `topic` until the server queues bytes. Returns the number of the next push.
async fn fill(server: &Server, topic: &str) -> usize {
    for n in 0.. {
        server.hub.publish(topic, &push(n, LARGE)).await.unwrap();
        tokio::time::sleep(millis(2)).await;
        if server.hub.stats().queued_bytes > 0 {
            return n + 1;
        }
    }
    unreachable!()
}

/// The client begins to read again in time to receive the close frame, and can resume.
#[tokio::test]
async fn a_slow_reader_is_closed_with_a_code() {
    let server = Server::start(|config| config.queue_bytes = 4 * LARGE).await;
    let (mut slow, mut other) = (server.client("ann").await, server.client("bob").await);
    let first = fill(&server, "user/ann").await;
    for n in first..first + 8 {
        server.hub.publish("user/ann", &push(n, LARGE)).await.unwrap();
    }
    server.hub.publish("user/bob", &push(7, 0)).await.unwrap();
    assert_eq!(other.next().await["data"]["n"], 7);
    let (frames, code) = slow.read_to_end().await;
    assert_eq!(code, Some(close::TOO_SLOW));
    let numbers: Vec<_> = frames.iter().map(|frame| frame["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "what was sent is complete");
    server.until("the slow session is closed", |s| s.sessions == 1 && s.queued_bytes == 0).await;
}

/// The buffers of the kernel fill, then the queue, and then the session is closed. Another session of the topic misses
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_does_not_affect_other_sessions() {
    const QUEUE: usize = 256 * 1024;
    let server = Server::start(|config| {
        config.queue_bytes = QUEUE;
        config.write_timeout = millis(500);
    })
    .await;
    let stuck = server.client("ann").await;
    let mut other = server.client("ann").await;
    let mut most = 0;
    for n in 0..400 {
        server.hub.publish("user/ann", &push(n, 32 * 1024)).await.unwrap();
        most = most.max(server.hub.stats().queued_bytes);
        assert_eq!(other.next().await["data"]["n"], n);
    }
    assert!(most > QUEUE / 2 && most <= 2 * QUEUE, "the queues of two sessions: {most}");
    server.until("the stuck session is closed", |s| s.sessions == 1 && s.queued_bytes == 0).await;
    drop(stuck);
}

/// The pushes fit into the queue, so only the write timeout can close the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_progress_closes_the_session() {
    let server = Server::start(|config| {
        config.queue_bytes = 256 * 1024 * 1024;
        config.write_timeout = millis(300);
    })
    .await;
    let stuck = server.client("ann").await;
    for n in 0..200 {
        server.hub.publish("user/ann", &push(n, LARGE)).await.unwrap();
    }
    server.until_empty().await;
    drop(stuck);
}

/// The client that reads again gets the newest messages, after a notice that older ones are missing.
#[tokio::test]
async fn a_topic_that_drops_the_oldest_notifies_the_client() {
    let options = TopicOptions::default().slow_consumer(SlowConsumer::DropOldest);
    let server = Server::start(|config| {
        *config = config.clone().topic("public/", options);
        config.queue_bytes = 4 * LARGE;
        config.write_timeout = Duration::from_secs(60);
    })
    .await;
    let mut slow = server.client("ann").await;
    slow.subscribe("public/a").await;
    let mut n = fill(&server, "public/a").await;
    for _ in 0..20 {
        server.hub.publish("public/a", &push(n, LARGE)).await.unwrap();
        n += 1;
        tokio::time::sleep(millis(1)).await;
    }
    let (mut expected, mut missed) = (0, 0);
    while expected < n as u64 {
        let frame = slow.next().await;
        if frame["type"] == "missed" {
            assert_eq!(frame["reason"], "slow");
            missed += 1;
            let after = slow.next().await;
            assert!(after["data"]["n"].as_u64().unwrap() > expected, "{missed}");
            expected = after["data"]["n"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(frame["data"]["n"], expected, "no gap without a notice");
            expected += 1;
        }
    }
    assert_eq!(missed, 1);
}

#[tokio::test]
async fn a_topic_that_keeps_the_latest_replaces_queued_messages_of_a_key() {
    let options = TopicOptions::default().slow_consumer(SlowConsumer::KeepLatest);
    let server = Server::start(|config| {
        *config = config.clone().topic("public/", options);
        config.queue_bytes = 16 * LARGE;
        config.write_timeout = Duration::from_secs(60);
    })
    .await;
    let mut slow = server.client("ann").await;
    slow.subscribe("public/a").await;
    let first = fill(&server, "public/a").await;
    for n in first..first + 300 {
        let key = Some(format!("key-{}", n % 3));
        let push = comms_ws::Push { key, ..push(n, LARGE) };
        server.hub.publish("public/a", &push).await.unwrap();
    }
    let mut last = Vec::new();
    loop {
        let frame = slow.next().await;
        if frame["key"] != json!(null) {
            last.push(frame["data"]["n"].as_u64().unwrap() as usize);
        }
        if last.last() == Some(&(first + 299)) {
            break;
        }
    }
    let newest = [first + 297, first + 298, first + 299];
    assert!(last.ends_with(&newest), "the newest message of each key: {last:?}");
    assert!(last.len() < 100, "{}", last.len());
}
