//! A relay whose connections lead to a hot standby.

use std::time::{Duration, Instant};

use crate::{
    cluster::{Cluster, Folder},
    forwarder::Forwarder,
    ledger::Ledger,
    moves::flushed,
    relays::{Running, health, relay, run},
    rounds::outbox,
    writers::{message, sql, tables},
};

const SHORT: Duration = Duration::from_millis(500);

async fn pair(folder: &Folder) -> (Cluster, Cluster) {
    let primary = outbox(folder).await;
    let mut standby = primary.copy(folder, "standby", true);
    standby.start(&[]);
    standby.wait("SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'").await;
    (primary, standby)
}

async fn send(cluster: &Cluster, id: &str) {
    tables().enqueue(&mut cluster.connect().await, &[message(id, "key", 0)]).await.unwrap();
}

async fn until_delivered(ledger: &Ledger, relay: &mut Running, id: &str) {
    let limit = Instant::now() + Duration::from_secs(30);
    while ledger.find(id).is_none() {
        relay.check().await;
        assert!(Instant::now() < limit, "message {id} was not delivered within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The relay is unready and reads nothing until the standby is promoted.
pub async fn waits_for_promotion() {
    let folder = Folder::new();
    let (mut primary, mut standby) = pair(&folder).await;
    let (ledger, (health, component)) = (Ledger::default(), health());
    send(&primary, "committed").await;
    let lsn = "SELECT count(*) = 1 FROM comms_outbox";
    standby.wait(lsn).await;
    let mut relay = run(relay(standby.options(), &ledger).lease(SHORT).health(component));
    tokio::time::sleep(Duration::from_secs(2)).await;
    relay.check().await;
    assert_eq!(ledger.len(), 0, "the relay has read on a standby");
    assert!(!health.is_ready(), "the relay is ready on a standby");
    println!("on a standby: {:?}", health.readiness().reason("relay"));
    primary.kill();
    standby.promote().await;
    until_delivered(&ledger, &mut relay, "committed").await;
    assert!(health.is_ready(), "{:?}", health.readiness().reason("relay"));
    relay.stop().await;
}

/// A running relay is connected to a standby while a transaction is open on the primary, and then reconnected.
pub async fn there_and_back() {
    let folder = Folder::new();
    let (primary, mut standby) = pair(&folder).await;
    let ledger = Ledger::default();
    let forwarder = Forwarder::to(primary.port).await;
    let mut relay =
        run(relay(crate::cluster::options(forwarder.port), &ledger).lease(Duration::from_secs(60)));
    let mut lost = Vec::new();
    for round in 0..5 {
        let name = |what: &str| format!("{round} {what}");
        send(&primary, &name("before")).await;
        until_delivered(&ledger, &mut relay, &name("before")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut open = primary.connect().await;
        sql(&mut open, "BEGIN").await.unwrap();
        tables().enqueue(&mut open, &[message(&name("open"), "key", 0)]).await.unwrap();
        // A later id reaches the standby, so that its snapshot ends above the open transaction.
        sql(&mut primary.connect().await, "INSERT INTO other DEFAULT VALUES").await.unwrap();
        let lsn = flushed(&primary).await;
        standby.wait(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'")).await;
        forwarder.switch(standby.port);
        tokio::time::sleep(Duration::from_millis(500)).await;
        // The commit precedes the relay's next snapshot on the primary, which would otherwise list the open
        // transaction.
        forwarder.hold();
        sql(&mut open, "COMMIT").await.unwrap();
        forwarder.switch(primary.port);
        send(&primary, &name("after")).await;
        until_delivered(&ledger, &mut relay, &name("after")).await;
        lost.extend(Some(name("open")).filter(|id| ledger.find(id).is_none()));
    }
    relay.stop().await;
    println!("to a standby and back: rounds 5, rows 15, lost {}", lost.len());
    assert!(lost.is_empty(), "the relay took a standby's snapshot and lost {lost:?}");
}
