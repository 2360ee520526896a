//! The relay against real crashes of PostgreSQL.
//!
//! Each test creates clusters of its own (fsync on) and loses what a crash can take from them: SIGKILL of the
//! server with all its processes, SIGKILL of one process (the server resets its shared memory and its start time
//! stays), immediate shutdown, promotion of an asynchronous and of a synchronous standby, restore to a random
//! point of the WAL. The relay runs in this process and keeps its memory, directly and through PgBouncer in
//! transaction mode. Before most crashes the WAL writer is stopped, so that unflushed WAL is lost as in a power
//! cut: transaction ids that the relay has seen are then handed out again.
//!
//! Every message that is committed in the history that is left must have been delivered, each key in order.
//! A message may have been delivered although its transaction is gone (a *phantom*: its commit was asynchronous,
//! or only the old primary had it), and may be delivered *again*; both are counted and allowed.
//!
//! Not attacked: a real power cut, snapshots of disks, `pg_rewind`, logical replication, versions other than the
//! installed one, an old primary that goes on beside the promoted one.
//!
//! The tests run one after the other. More rounds, with the counts:
//! `COMMS_CRASH_ROUNDS=200 scripts/test -p comms-outbox --test crash -- --nocapture`.
//! `COMMS_CRASH_SEED` repeats the choices of a run, but not the timing of the processes.
#![cfg(feature = "postgres")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod cluster;
mod forwarder;
mod idle;
mod ledger;
mod moves;
mod oracle;
mod pooled;
mod pooler;
mod process;
mod relays;
mod rng;
mod rounds;
mod standby;
mod writers;

use tokio::sync::Mutex;

use cluster::Folder;
use pooler::Pooler;
use rounds::{World, outbox, rng, rounds};

/// One test at a time: each keeps both cores of a small machine busy.
static ONE_TEST: Mutex<()> = Mutex::const_new(());

/// The smallest loss there was: an idle relay sees ids that a crash takes back and hands out again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn an_idle_relay_survives_reused_transaction_ids() {
    let _one = ONE_TEST.lock().await;
    idle::ids_come_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn crashes_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    crash(1, "crashes").await;
}

/// Two relays compete for a short lease, which goes from one to the other in the crashes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn crashes_with_two_relays_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    crash(2, "crashes with two relays").await;
}

async fn crash(relays: usize, test: &str) {
    let folder = Folder::new();
    let cluster = outbox(&folder).await;
    let access = cluster.options();
    let mut world = World::start(cluster, access, relays, rng()).await;
    for _ in 0..rounds(10) {
        world.crash().await;
    }
    world.finish(test).await;
}

/// A pooler keeps the client's connection: between two transactions a crash is invisible.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn crashes_behind_a_pooler_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    let folder = Folder::new();
    let cluster = outbox(&folder).await;
    let pooler = Pooler::start(&folder, &cluster, false).await;
    let mut world = World::start(cluster, pooler.options(), 2, rng()).await;
    for _ in 0..rounds(10) {
        world.crash().await;
    }
    world.finish("crashes behind a pooler").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn promotions_of_an_asynchronous_standby_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    moves::run(moves::Move::AsynchronousStandby, rounds(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn promotions_of_a_synchronous_standby_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    moves::run(moves::Move::SynchronousStandby, rounds(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn restores_lose_nothing() {
    let _one = ONE_TEST.lock().await;
    moves::run(moves::Move::Restore, rounds(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn a_relay_on_a_standby_waits_for_its_promotion() {
    let _one = ONE_TEST.lock().await;
    standby::waits_for_promotion().await;
}

/// A snapshot of a standby lists no transaction that runs on the primary: an open one would count as seen.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn a_relay_switched_to_a_standby_and_back_loses_no_open_transaction() {
    let _one = ONE_TEST.lock().await;
    standby::there_and_back().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's programs; run scripts/test"]
async fn a_pooler_in_transaction_mode_serves_relays_and_writers() {
    let _one = ONE_TEST.lock().await;
    pooled::relays_and_writers().await;
}
