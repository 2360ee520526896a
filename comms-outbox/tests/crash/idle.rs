//! An idle relay, and transaction ids that are given out again after a crash.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::{
    cluster::{Folder, options},
    forwarder::Forwarder,
    ledger::Ledger,
    relays::{Running, relay, run},
    rounds::outbox,
    writers::{message, sql, tables},
};

/// The relay that reads the rows committed after the crash.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// The relay that was idle during the crash.
    SameRelay,
    /// Another relay. The idle one was shut down after the crash, and saved its position.
    AfterShutdown,
    /// Another relay. The idle one crashed after the server, and saved nothing.
    AfterCrash,
}

pub async fn ids_come_twice() {
    let folder = Folder::new();
    let mut cluster = outbox(&folder).await;
    let ledger = Ledger::default();
    let forwarder = Forwarder::to(cluster.port).await;
    // With a long lease, no renewal flushes the WAL in the idle phase.
    let start =
        || run(relay(options(forwarder.port), &ledger).owner("the same").lease(Duration::from_secs(60)));
    let mut relay = start();
    let mut lost = Vec::new();
    for (round, reader) in
        [Reader::SameRelay, Reader::AfterShutdown, Reader::AfterCrash].iter().cycle().take(9).enumerate()
    {
        let name = |what: &str| format!("{round} {what}");
        let mut conn = cluster.connect().await;
        send(&mut conn, &name("before")).await;
        assert!(delivered(&ledger, &mut relay, &name("before")).await, "round {round}: nothing is delivered");
        // The position after the delivery is saved by now, and the relay reads an empty outbox.
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.stop_wal_writer();
        for _ in 0..20 {
            sql(&mut conn, "BEGIN; SELECT pg_current_xact_id(); ROLLBACK").await.unwrap();
        }
        let xid = crate::cluster::next_xid(&mut conn).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        forwarder.hold();
        cluster.kill();
        cluster.start(&[]);
        cluster.up().await;
        assert!(cluster.recovered_xid() < xid, "no id came twice: this test has shown nothing");
        // The commit precedes the relay's next snapshot. A snapshot in between would be older than the relay's own.
        let mut conn = cluster.connect().await;
        for n in 0..2 {
            send(&mut conn, &name(&n.to_string())).await;
        }
        forwarder.switch(cluster.port);
        tokio::time::sleep(Duration::from_millis(150)).await;
        relay = match reader {
            Reader::SameRelay => relay,
            Reader::AfterShutdown => {
                relay.stop().await;
                start()
            }
            Reader::AfterCrash => {
                relay.crash().await;
                start()
            }
        };
        send(&mut conn, &name("after")).await;
        assert!(delivered(&ledger, &mut relay, &name("after")).await, "round {round}: nothing is delivered");
        let missing = (0..2).map(|n| name(&n.to_string())).filter(|id| ledger.find(id).is_none());
        lost.extend(missing.map(|id| format!("{id} ({reader:?})")));
        conn.close().await.unwrap();
    }
    relay.stop().await;
    println!("an idle relay: rounds 9, all with reused ids, rows 18, lost {}", lost.len());
    assert!(lost.is_empty(), "lost {} of 18 committed messages: {lost:?}", lost.len());
}

async fn send(conn: &mut PgConnection, id: &str) {
    tables().enqueue(conn, &[message(id, "key", 0)]).await.unwrap();
}

async fn delivered(ledger: &Ledger, relay: &mut Running, id: &str) -> bool {
    let limit = Instant::now() + Duration::from_secs(20);
    while ledger.find(id).is_none() && Instant::now() < limit {
        relay.check().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ledger.find(id).is_some()
}
