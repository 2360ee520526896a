//! Crashes of the relay, and failures of the publisher.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{Error, ErrorKind, clock::Clock};

use super::{Backend, message, recorder::Recorder, run, send, until};

/// Drops the relay at random points, also between a publish and the save of the position. No row is lost, and the first
/// deliveries of each key are in order.
pub async fn a_relay_that_crashes_loses_nothing<B: Backend>() {
    const ROWS: usize = 600;
    const KEYS: usize = 5;
    let clock = Clock::system();
    let backend = B::start().await;
    let recorder = Recorder::with(Duration::from_millis(40), 64);
    let writer = tokio::spawn({
        let backend = backend.clone();
        async move {
            let row = |n: usize| message(&(n % KEYS).to_string(), &format!("{:04}", n / KEYS));
            for n in (0..ROWS).step_by(5) {
                send(&backend, &(n..n + 5).map(row).collect::<Vec<_>>()).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    });
    let builder = || backend.relay(recorder.clone()).owner("the same").page(10).in_flight(40);
    let mut crashes = 0;
    while crashes < 40 || !writer.is_finished() {
        let relay = run(builder());
        tokio::time::sleep(Duration::from_secs_f64(0.25 * clock.random_unit())).await;
        relay.crash().await;
        recorder.drop_unacknowledged();
        crashes += 1;
    }
    writer.await.unwrap();
    let relay = run(builder());
    let whole = || recorder.first_by_key().values().map(Vec::len).sum::<usize>() == ROWS;
    until("every row", async || whole()).await;
    // The relay may still redeliver rows that it had delivered before the crash. They come before a new row.
    send(&backend, &[message("last", "last")]).await;
    until("the last row", async || recorder.payloads().contains(&"last".to_owned())).await;
    relay.stop().await;
    let mut firsts = recorder.first_by_key();
    firsts.remove("last");
    for (key, payloads) in firsts {
        let expected: Vec<_> = (0..ROWS / KEYS).map(|n| format!("{n:04}")).collect();
        assert_eq!(payloads, expected, "key {key}");
    }
    println!("{crashes} crashes, {} of {ROWS} rows were redelivered", recorder.count() - ROWS - 1);
    // Rows that were acknowledged before an orderly shutdown are not redelivered.
    let count = recorder.count();
    let relay = run(builder());
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.stop().await;
    assert_eq!(recorder.count(), count);
}

/// After a transient failure every row behind it is published again. No row is lost or parked.
pub async fn a_publish_that_fails_is_retried<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::with(Duration::from_millis(1), 8));
    let failures = Arc::new(AtomicUsize::new(0));
    let count = failures.clone();
    recorder.judge(move |message| {
        let kinds =
            [ErrorKind::NotExecuted, ErrorKind::Indeterminate, ErrorKind::Rejected, ErrorKind::Conflict];
        let failing = super::recorder::payload(message).parse::<usize>().unwrap() % 25 == 24;
        let n = if failing { count.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
        // Each kind once, so four failures in total.
        kinds.get(n).map_or(Ok(()), |kind| Err(Error::new(*kind, "away")))
    });
    let messages: Vec<_> = (0..100).map(|n| message("k", &n.to_string())).collect();
    send(&backend, &messages).await;
    let relay = run(backend.relay(recorder.clone()).page(10).in_flight(20));
    let last = || recorder.payloads().last().is_some_and(|p| p == "99");
    until("every row, after four failures", async || failures.load(Ordering::SeqCst) > 4 && last()).await;
    relay.stop().await;
    let firsts = recorder.first_by_key().remove("k").unwrap();
    assert_eq!(firsts, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(backend.parked().await.is_empty());
}

pub async fn a_fatal_publish_error_ends_the_relay<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    recorder.judge(|_| Err(Error::fatal("not authorised")));
    send(&backend, &[message("k", "1")]).await;
    let mut relay = run(backend.relay(recorder.clone()));
    let error = relay.end().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(
        error.chain().to_string().contains("relay test")
            && error.chain().to_string().contains("not authorised"),
        "{error}"
    );
    // The next relay delivers the row.
    let next = Recorder::new();
    let relay = run(backend.relay(next.clone()));
    until("the row", async || next.count() == 1).await;
    relay.stop().await;
}
