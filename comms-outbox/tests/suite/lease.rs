//! At most one relay of a name runs at a time.

use std::{sync::Arc, time::Duration};

use comms_core::{clock::Clock, health::Health};
use comms_outbox::CommitSignal;

use super::{Backend, message, recorder::Recorder, run, send, until};

pub async fn a_successor_starts_at_once_after_a_shutdown_and_after_the_lease_otherwise<B: Backend>() {
    let backend = B::start().await;
    let (first, second, third) = (Recorder::new(), Recorder::new(), Recorder::new());
    let health = Health::new();
    let one = run(backend.relay(first.clone()).owner("one"));
    send(&backend, &[message("k", "1")]).await;
    until("one relays", async || first.count() == 1).await;

    let two = run(backend.relay(second.clone()).owner("two").health(health.component("two")));
    until("standing by is ready", async || health.is_ready()).await;
    send(&backend, &[message("k", "2")]).await;
    until("one continues", async || first.count() == 2).await;
    one.stop().await;
    let (_, _, held) = backend.lease().await;
    assert!(!held || backend.lease().await.0 == "two", "the lease was released");
    send(&backend, &[message("k", "3")]).await;
    until("two takes over", async || second.count() == 1).await;
    assert_eq!(second.payloads(), ["3"], "no row was redelivered");

    two.crash().await;
    let crashed = std::time::Instant::now();
    let three = run(backend.relay(third.clone()).owner("three"));
    send(&backend, &[message("k", "4")]).await;
    until("three takes over", async || third.payloads().last().is_some_and(|p| p == "4")).await;
    let waited = crashed.elapsed();
    assert!(waited > Duration::from_millis(500) && waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!((first.count(), second.count()), (2, 1), "the other relays delivered nothing");
    three.stop().await;
}

/// A process is suspended for longer than its lease and then continues. It hands over no further message, and its saves
/// change nothing.
pub async fn a_relay_that_was_overtaken_is_fenced<B: Backend>() {
    let backend = B::start().await;
    let rows: Vec<_> = (0..30).map(|n| message("k", &n.to_string())).collect();
    send(&backend, &rows).await;
    // The publisher takes five messages at a time and is slow, so most of the page waits in the relay.
    let slow = Recorder::with(Duration::from_millis(50), 5);
    let mut stale =
        Box::pin(backend.relay(slow.clone()).owner("stale").build().unwrap().run(std::future::pending()));
    until("it hands over", async || {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut stale).await;
        slow.count() > 0
    })
    .await;
    let handed_over = slow.count();
    assert!(handed_over < 30, "{handed_over}");

    let fresh = Recorder::new();
    let relay = run(backend.relay(fresh.clone()).owner("fresh"));
    until("the fresh one has it all", async || fresh.payloads().last().is_some_and(|p| p == "29")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = backend.lease().await;

    let _ = tokio::time::timeout(Duration::from_secs(1), &mut stale).await;
    assert_eq!(slow.count(), handed_over, "nothing more was handed over");
    assert_eq!(backend.lease().await, before, "owner and token belong to the fresh relay");
    relay.stop().await;
    drop(stale);

    // The cursor is at the end, so a third relay finds no row.
    let third = Recorder::new();
    let relay = run(backend.relay(third.clone()).owner("third"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(third.count(), 0);
    relay.stop().await;
}

/// Several relays compete for the lease. No two of them publish at the same time.
pub async fn at_most_one_of_many_relays_publishes<B: Backend>() {
    let backend = B::start().await;
    let recorder = Recorder::new();
    let relays: Vec<_> = (0..4).map(|n| run(backend.relay(recorder.clone()).owner(format!("{n}")))).collect();
    for n in 0..50 {
        send(&backend, &[message("k", &n.to_string())]).await;
    }
    until("every row", async || recorder.count() >= 50).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(recorder.payloads(), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    for relay in relays {
        relay.stop().await;
    }
    assert_eq!(Arc::strong_count(&recorder), 1, "the relays dropped everything");
}

/// While the publisher returns no result, the lag grows and the loop beats the heartbeat.
pub async fn readiness_follows_the_lag_and_liveness_the_loop<B: Backend>() {
    let backend = B::start().await;
    let health = Health::new();
    let slow = Recorder::with(Duration::from_secs(6), 100);
    let beat = health.heartbeat("relay", Duration::from_secs(4));
    let relay = backend.relay(slow.clone()).heartbeat(beat).build().unwrap();
    let lag = relay.lag();
    assert_eq!(lag(), 0.0);
    health.gauge("lag", 0.5, relay.lag());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(relay.run(async { drop(stopped.await) }));
    send(&backend, &[message("k", "1")]).await;
    until("the lag is over its limit", async || !health.is_ready()).await;
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert!(health.is_live(), "{:?}", health.liveness());
    until("it is delivered", async || lag() == 0.0).await;
    assert!(health.is_ready());
    drop(stop);
    task.await.unwrap().unwrap();
    assert!(health.liveness().parts.is_empty(), "a loop that was shut down needs no heartbeat");
}

/// The relay reads again after the poll interval, and renews the lease after a third of it, by its clock.
pub async fn a_manual_clock_drives_reads_and_the_renewal_of_the_lease<B: Backend>() {
    let (backend, clock, recorder) = (B::start().await, Clock::manual(Duration::ZERO), Recorder::new());
    let lease = Duration::from_secs(1);
    let relay = backend.relay(recorder.clone()).commit_signal(CommitSignal::new()).clock(clock.clone());
    send(&backend, &[message("k", "1")]).await;
    let relay = run(relay.lease(lease).poll_interval(Duration::from_millis(200)));
    until("the first row", async || recorder.count() == 1).await;
    // The real time of the lease passes, and the relay does not renew it, because its clock stands still.
    tokio::time::sleep(lease + Duration::from_millis(200)).await;
    send(&backend, &[message("k", "2")]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((recorder.count(), backend.lease().await.2), (1, false));
    clock.advance(Duration::from_millis(200));
    until("the next read", async || recorder.count() == 2).await;
    clock.advance(lease / 3);
    until("the lease is renewed", async || backend.lease().await.2).await;
    relay.stop().await;
}
