//! The relay against real crashes of PostgreSQL.
//!
//! Each test creates its own clusters (fsync on) and loses the data that a crash may lose: SIGKILL of the server with
//! all its processes, SIGKILL of one process (the server resets its shared memory and its start time stays), immediate
//! shutdown, promotion of an asynchronous and of a synchronous standby, restore to a random point of the WAL. The relay
//! runs in the process of the test and keeps its memory. It connects directly, and through PgBouncer in transaction
//! mode. Before most crashes the WAL writer is stopped, so that unflushed WAL is lost as in a power failure.
//! Transaction ids that the relay has seen are then given out again.
//!
//! Every message that is committed in the surviving history must have been delivered, each key in order. A message may
//! have been delivered although its transaction is lost (a *phantom*: its commit was asynchronous, or only the old
//! primary had it), and may be delivered *again*. Both are counted and allowed.
//!
//! Not tested: a real power failure, snapshots of disks, `pg_rewind`, logical replication, versions other than the
//! installed one, an old primary that continues beside the promoted one.
//!
//! The tests run one after the other. This command runs more rounds and prints the counts: `COMMS_CRASH_ROUNDS=200
//! scripts/test -p comms-outbox --test crash -- --nocapture`. `COMMS_CRASH_SEED` repeats the choices of a run, but not
//! the timing of the processes.
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

/// The tests run one at a time, because each keeps both cores of a small machine busy.
static ONE_TEST: Mutex<()> = Mutex::const_new(());

/// The smallest known loss: an idle relay sees transaction ids that a crash loses and that are given out again.
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

/// Two relays compete for a short lease, which changes between them during the crashes.
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

/// A pooler keeps the client's connection, so a crash between two transactions is invisible to the client.
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

/// A snapshot of a standby lists no transaction that runs on the primary, so an open one would count as seen.
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
