//! Sessions of a relay: how one takes the lease, and how one ends while the relay runs.

use std::time::{Duration, Instant};

use super::{
    Backend,
    gate::{Accepted, Gate},
    message, run, send, until,
};

/// The statement `wrong_clock` writes a lease that ends in an hour.
pub async fn a_lease_that_a_wrong_clock_wrote_is_taken<B: Backend>(wrong_clock: &str) {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let relay = |owner: &str| run(backend.relay(Gate::new(&accepted, Duration::ZERO)).owner(owner));
    let one = relay("one");
    send(&backend, &[message("k", "0")]).await;
    until("the message is delivered", async || accepted.count() == 1).await;
    one.crash().await;
    backend.sql(wrong_clock).await;
    let started = Instant::now();
    let two = relay("two");
    send(&backend, &[message("k", "1")]).await;
    until("the message is delivered", async || accepted.to("t").contains(&"1".to_owned())).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(backend.lease().await.0, "two");
    two.stop().await;
}

/// A process that was killed and restarts with the same owner does not wait for its old lease.
pub async fn a_restart_under_the_same_owner_takes_its_lease_at_once<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let relay = || {
        let relay = backend.relay(Gate::new(&accepted, Duration::ZERO)).owner("pod-0");
        run(relay.lease(Duration::from_secs(300)))
    };
    let first = relay();
    send(&backend, &[message("k", "1")]).await;
    until("the message is delivered", async || accepted.count() == 1).await;
    first.crash().await;
    let second = relay();
    send(&backend, &[message("k", "2")]).await;
    until("it delivers at once", async || accepted.to("t").contains(&"2".to_owned())).await;
    second.stop().await;
}

pub async fn owners_are_different_by_default<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let mut owners = Vec::new();
    for n in 0..2 {
        let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
        send(&backend, &[message("k", "1")]).await;
        until("the message is delivered", async || accepted.count() == n + 1).await;
        owners.push(backend.lease().await.0);
        relay.stop().await;
    }
    assert_ne!(owners[0], owners[1]);
}

/// The statement `end` ends the session in the database, as another relay, an operator or a recovery does: within a
/// backlog, and while the relay is idle. The relay takes the lease again and loses no row.
pub async fn a_session_that_ends_under_a_running_relay_loses_nothing<B: Backend>(end: &str) {
    const ROWS: usize = 600;
    let (backend, accepted) = (B::start().await, Accepted::default());
    let rows = |from: usize| (from..from + ROWS).map(|n| message("k", &n.to_string())).collect::<Vec<_>>();
    send(&backend, &rows(0)).await;
    let gate = Gate::new(&accepted, Duration::from_millis(5));
    let relay = run(backend.relay(gate).page(10).in_flight(20));
    let firsts = || accepted.first_by_lane().into_values().next().unwrap_or_default();
    for part in 1..5 {
        until("the message is delivered", async || firsts().len() >= ROWS * part / 5).await;
        let token = backend.lease().await.1;
        backend.sql(end).await;
        until("a new session", async || backend.lease().await.1 != token && backend.lease().await.2).await;
    }
    until("every row", async || firsts().len() == ROWS).await;
    // The relay is idle: the cursor is saved, and the relay polls.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let token = backend.lease().await.1;
    backend.sql(end).await;
    until("a new session while idle", async || backend.lease().await.1 != token).await;
    let count = accepted.count();
    send(&backend, &rows(ROWS)).await;
    until("what is new", async || firsts().len() == 2 * ROWS).await;
    relay.stop().await;
    assert_eq!(firsts(), (0..2 * ROWS).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(accepted.count() >= count + ROWS);
}
