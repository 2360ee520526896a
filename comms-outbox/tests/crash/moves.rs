//! The server is replaced by another one that lacks a part of its history.

use crate::{
    cluster::{Cluster, Folder},
    rounds::{World, outbox, rng},
    writers::{Mode, sql},
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// The standby may be behind: transactions that it has not received are lost.
    AsynchronousStandby,
    SynchronousStandby,
    /// A backup, and the WAL up to a random point.
    Restore,
}

/// In each round the server is killed, and writers and relays continue with the next one. The relays are connected
/// through a forwarder, so they notice a broken connection at most.
pub async fn run(how: Move, rounds: u32) {
    let folder = Folder::new();
    let cluster = outbox(&folder).await;
    let access = cluster.options();
    let mut world = World::start(cluster, access, 1, rng()).await;
    for round in 0..rounds {
        world.writers.set(Mode::Everything);
        let mut next = world.cluster.copy(&folder, &format!("next-{}", round % 2), how != Move::Restore);
        let from = flushed(&world.cluster).await;
        if how != Move::Restore {
            next.start(&[]);
            next.wait("SELECT pg_is_in_recovery() AND count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'").await;
        }
        if how == Move::SynchronousStandby {
            let mut conn = world.cluster.connect().await;
            sql(&mut conn, "ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
            sql(&mut conn, "SELECT pg_reload_conf()").await.unwrap();
        }
        world.write().await;
        if how == Move::AsynchronousStandby {
            world.cluster.stop_wal_senders();
            world.writers.set(Mode::Everything);
            tokio::time::sleep(world.rng.millis(0.0, 300.0)).await;
            world.writers.set_and_wait(Mode::Idle).await;
            tokio::time::sleep(world.rng.millis(20.0, 100.0)).await;
        }
        let target = point_after(&world, &from).await;
        let xid = world.cluster.next_xid().await;
        world.forwarder.hold();
        world.cluster.kill();
        match how {
            Move::Restore => next.start_at(&world.cluster, &target),
            _ => next.promote().await,
        }
        next.up().await;
        *world.oracle.crashes.entry(name(how)).or_default() += 1;
        // This runs before the writers start, so it counts each round in which ids are given out again.
        world.oracle.reused += u32::from(next.next_xid().await < xid);
        world.writers.switch(next.port);
        world.writers.set(Mode::Everything);
        world.forwarder.switch(next.port);
        world.cluster = next;
        world.go_on(xid, 0.6).await;
    }
    world.finish(name(how)).await;
}

fn name(how: Move) -> &'static str {
    match how {
        Move::AsynchronousStandby => "asynchronous standby promoted",
        Move::SynchronousStandby => "synchronous standby promoted",
        Move::Restore => "restored",
    }
}

/// Returns the end of the WAL on disk.
pub async fn flushed(cluster: &Cluster) -> String {
    let select = "SELECT pg_current_wal_flush_lsn()::text";
    sqlx::query_scalar(select).fetch_one(&mut cluster.connect().await).await.unwrap()
}

/// Returns a random point of the WAL between `from` and now. A flushed record follows it, so that recovery can stop
/// there.
async fn point_after(world: &World, from: &str) -> String {
    let mut conn = world.cluster.connect().await;
    let between = "SELECT ($1::text::pg_lsn + floor($2 * (pg_current_wal_flush_lsn() - $1::text::pg_lsn))::numeric)::text";
    let point = sqlx::query_scalar(between).bind(from).bind(world.rng.between(0.0, 1.0));
    let point = point.fetch_one(&mut conn).await.unwrap();
    sql(&mut conn, "SELECT pg_switch_wal()").await.unwrap();
    point
}
