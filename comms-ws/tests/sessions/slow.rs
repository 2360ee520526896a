//! A reader that is too slow is its own affair.

use comms_ws::close;

use crate::support::{Server, event, millis};

/// It reads again in time to learn why it was closed, and that it missed something.
#[tokio::test]
async fn a_reader_that_falls_behind_is_told() {
    let server = Server::start(|config| config.queue_frames = 100).await;
    let (mut slow, mut other) = (server.client("ann").await, server.client("bob").await);
    // Without a pause: its session has no chance to write any of it.
    for n in 0..101 {
        server.hub.publish("user/ann", &event(n, 10));
    }
    assert_eq!(server.hub.stats().queued_bytes, 0, "what was late is dropped at once");
    server.hub.publish("user/bob", &event(7, 0));
    assert_eq!(slow.rest().await.1, Some(close::TOO_SLOW));
    assert_eq!(other.next().await["data"]["n"], 7);
    server.until("it is gone", |s| s.sessions == 1).await;
}

#[tokio::test]
async fn one_byte_over_the_bound_is_over() {
    let frame = r#"{"type":"event","topic":"user/ann","id":"test/0","event":"test.happened.v1","time":"2026-11-21T07:00:00.123Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"n":0,"pad":""}}"#;
    let server = Server::start(|config| config.queue_bytes = 2 * frame.len() + 1).await;
    let mut fits = server.client("ann").await;
    for _ in 0..2 {
        server.hub.publish("user/ann", &event(0, 0));
    }
    assert_eq!(server.hub.stats().queued_bytes, 2 * frame.len());
    assert_eq!(fits.next().await["data"]["n"], 0);
    assert_eq!(fits.next().await["data"]["n"], 0);
    // Longer by two bytes than what is left.
    server.hub.publish("user/ann", &event(0, 0));
    server.hub.publish("user/ann", &event(0, 2));
    assert_eq!(fits.rest().await.1, Some(close::TOO_SLOW));
}

/// It never reads a byte: the kernel's buffers fill, then the queue, and then it is closed, while another
/// session of the same topic misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_disturbs_nobody() {
    const BOUND: usize = 256 * 1024;
    // Only the queue's bound can end it, and it must do so in the middle of a write.
    let server = Server::start(|config| {
        config.queue_bytes = BOUND;
        config.write_timeout = millis(60_000);
    })
    .await;
    let deaf = server.client("ann").await;
    let mut other = server.client("ann").await;
    let mut most = 0;
    for n in 0..400 {
        server.hub.publish("user/ann", &event(n, 32 * 1024));
        most = most.max(server.hub.stats().queued_bytes);
        assert_eq!(other.next().await["data"]["n"], n);
    }
    assert!(most > BOUND / 2 && most <= 2 * BOUND, "two sessions' queues: {most}");
    server.until("the deaf one is closed", |s| s.sessions == 1 && s.queued_bytes == 0).await;
    drop(deaf);
}

/// It holds less than the queue's bound, so only the write's limit can end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_goes_nowhere_ends_the_session() {
    let server = Server::start(|config| {
        config.queue_bytes = 256 * 1024 * 1024;
        config.write_timeout = millis(300);
    })
    .await;
    let deaf = server.client("ann").await;
    for n in 0..200 {
        server.hub.publish("user/ann", &event(n, 64 * 1024));
    }
    server.until_empty().await;
    drop(deaf);
}
