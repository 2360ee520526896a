//! Relays and writers through PgBouncer in transaction mode, without crashes.

use std::time::{Duration, Instant};

use comms_core::{Outbox, UnitOfWork};
use comms_outbox::postgres::PgUnit;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::{
    cluster::Folder,
    ledger::Ledger,
    pooler::Pooler,
    relays::{health, relay, run},
    rounds::outbox,
    writers::{message, tables},
};

const WRITERS: usize = 4;
const SECONDS: u64 = 4;

/// Each transaction may run on another server connection, where other clients have prepared statements.
pub async fn relays_and_writers() {
    let folder = Folder::new();
    let cluster = outbox(&folder).await;
    let pooler = Pooler::start(&folder, &cluster, true).await;
    let ledger = Ledger::default();
    let (health, component) = health();
    let lease = Duration::from_millis(500);
    let mut relays = [
        run(relay(pooler.options(), &ledger).lease(lease).health(component)),
        run(relay(pooler.options(), &ledger).lease(lease)),
    ];
    let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with(pooler.options());
    // This configuration keeps no prepared statements, as PgBouncer before 1.21.
    let unit = PgUnit::new(pool, tables().unprepared());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(unit.clone(), writer));
    }
    let mut sent = 0;
    while let Some(count) = writers.join_next().await {
        sent += count.unwrap();
    }
    let limit = Instant::now() + Duration::from_secs(30);
    while ledger.len() < sent {
        for relay in &mut relays {
            relay.check().await;
        }
        let (delivered, state) = (ledger.len(), health.readiness());
        let reason = state.reason("relay");
        assert!(Instant::now() < limit, "{delivered} of {sent} messages were delivered; {reason:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(health.is_ready(), "{:?}", health.readiness().reason("relay"));
    println!("through a pooler: {sent} messages of {WRITERS} writers in {SECONDS} s");
    for relay in relays {
        relay.stop().await;
    }
}

/// Sends messages of one key for some seconds. Every transaction must succeed.
async fn write(unit: PgUnit, writer: usize) -> usize {
    let (mut sent, end) = (0, Instant::now() + Duration::from_secs(SECONDS));
    while Instant::now() < end {
        let mut tx = unit.begin().await.unwrap();
        let id = format!("{writer} {sent}");
        unit.enqueue(&mut tx, &[message(&id, &format!("writer {writer}"), 0)]).await.unwrap();
        unit.commit(tx).await.unwrap();
        sent += 1;
    }
    sent
}
