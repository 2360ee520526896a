//! A slow reader is closed and affects no other session.

use comms_ws::close;

use crate::support::{Server, millis, push};

/// The client reads in time to receive the close frame.
#[tokio::test]
async fn a_slow_reader_is_closed_with_a_code() {
    let server = Server::start(|config| config.queue_frames = 100).await;
    let (mut slow, mut other) = (server.client("ann").await, server.client("bob").await);
    // Without an await, so that the task of the session cannot write in between.
    for n in 0..101 {
        server.hub.publish("user/ann", &push(n, 10));
    }
    assert_eq!(server.hub.stats().queued_bytes, 0, "the queued frames are dropped at once");
    server.hub.publish("user/bob", &push(7, 0));
    assert_eq!(slow.read_to_end().await.1, Some(close::TOO_SLOW));
    assert_eq!(other.next().await["data"]["n"], 7);
    server.until("the slow session is closed", |s| s.sessions == 1).await;
}

#[tokio::test]
async fn a_queue_one_byte_over_its_limit_closes_the_session() {
    let frame = r#"{"type":"event","topic":"user/ann","id":"test/0","event":"test.happened.v1","time":"2026-11-21T07:00:00.123Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"n":0,"pad":""}}"#;
    let server = Server::start(|config| config.queue_bytes = 2 * frame.len() + 1).await;
    let mut fits = server.client("ann").await;
    for _ in 0..2 {
        server.hub.publish("user/ann", &push(0, 0));
    }
    assert_eq!(server.hub.stats().queued_bytes, 2 * frame.len());
    assert_eq!(fits.next().await["data"]["n"], 0);
    assert_eq!(fits.next().await["data"]["n"], 0);
    // The second frame is two bytes longer, and exceeds the rest of the queue by one byte.
    server.hub.publish("user/ann", &push(0, 0));
    server.hub.publish("user/ann", &push(0, 2));
    assert_eq!(fits.read_to_end().await.1, Some(close::TOO_SLOW));
}

/// The buffers of the kernel fill, then the queue, and then the session is closed. Another session of the topic misses
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_does_not_affect_other_sessions() {
    const QUEUE: usize = 256 * 1024;
    // Only the limit of the queue can close the session, in the middle of a write.
    let server = Server::start(|config| {
        config.queue_bytes = QUEUE;
        config.write_timeout = millis(60_000);
    })
    .await;
    let stuck = server.client("ann").await;
    let mut other = server.client("ann").await;
    let mut most = 0;
    for n in 0..400 {
        server.hub.publish("user/ann", &push(n, 32 * 1024));
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
        server.hub.publish("user/ann", &push(n, 64 * 1024));
    }
    server.until_empty().await;
    drop(stuck);
}
