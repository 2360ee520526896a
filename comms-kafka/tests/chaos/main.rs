//! The consumer on a real broker, while members and the broker come and go.
//!
//! The members are processes of their own, started from this test binary. Members and driver append what happens to one
//! file, the ledger, and the oracle checks it against what the broker has acknowledged. Per scenario: nothing
//! acknowledged is lost, the records of a key begin in order and one at a time in a member, nothing unfinished is
//! committed, no partition with a backlog stands still for 20 s, everything is committed after the close, and members
//! that were asked to leave end with code 0. The number of records handled again is printed with its bound.
//!
//! The tests start their own broker, kill only that one, and run one after the other. This command runs longer and
//! prints the counts: `COMMS_CHAOS_SECONDS=120 scripts/test -p comms-kafka --test chaos -- --nocapture`.
//! `COMMS_CHAOS_SEED` repeats the choices of a run, but not the timing of the processes.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod broker;
mod held;
mod ledger;
mod load;
mod member;
mod members;
mod oracle;
mod report;
mod rng;
mod stalls;
mod topics;
mod violations;
mod watch;
mod world;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use load::Flow;
use member::Work;
use rng::Rng;
use world::{Plan, Protocol, SETTLE, World, duration};

const PROTOCOLS: [Protocol; 3] = [Protocol::Range, Protocol::Cooperative, Protocol::Kip848];

/// The tests run one at a time, because each keeps both cores of a small machine busy.
fn one_test() -> MutexGuard<'static, ()> {
    static ONE_TEST: Mutex<()> = Mutex::new(());
    ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process of a member. Without the settings of a member it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the other tests"]
async fn chaos_member() {
    member::run().await;
}

/// Runs `scenario` with each of `protocols` at the same time, because a scenario mostly waits.
fn with_protocols(protocols: &[Protocol], scenario: impl Fn(Protocol) + Sync) {
    let _one = one_test();
    thread::scope(|scope| {
        for protocol in protocols {
            let name = format!("{protocol:?}");
            thread::Builder::new().name(name).spawn_scoped(scope, || scenario(*protocol)).unwrap();
        }
    });
}

/// Members join, leave, are killed, and are stopped for longer than their session.
#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_members_come_and_go() {
    with_protocols(&PROTOCOLS, |protocol| {
        let (work, rate) = match protocol {
            Protocol::Range => (Work::Millis(0), 4_000),
            Protocol::Cooperative => (Work::Millis(10), 2_000),
            Protocol::Kip848 => (Work::Mixed, 2_000),
        };
        let mut plan = Plan { work, ..Plan::new("members come and go", protocol) };
        plan.flow.rate = rate;
        let mut world = World::start(plan, 3);
        world.disturb(&Rng::from_environment(), duration());
        world.finish(|_| true);
    });
}

/// Members join and leave in order, one soon after the other, and every handler ends within the drain time. Records that
/// are finished behind one that was not begun are listed in the commit of the revocation. Records are handled again only if
/// the group refuses that commit, because another rebalance has begun.
#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_orderly_members() {
    with_protocols(&PROTOCOLS, |protocol| {
        let rng = Rng::from_environment();
        let mut world =
            World::start(Plan { work: Work::Millis(10), ..Plan::new("orderly members", protocol) }, 1);
        for action in ["join", "join", "term", "term", "join", "term"] {
            world.pause(rng.millis(1_000.0, 2_000.0));
            world.members.act(action, &rng);
        }
        world.pause(Duration::from_secs(1));
        world.finish(|_| true);
    });
}

/// A member is killed while it catches up, which is when most records are handled and not committed.
#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_kills_during_catch_up() {
    let _one = one_test();
    for work in [Work::Millis(0), Work::Mixed] {
        let mut plan = Plan { work, ..Plan::new("kills during catch-up", Protocol::Kip848) };
        plan.flow = Flow { rate: 50_000, hot: false, count: Some(100_000) };
        let mut world = World::new(plan);
        // A kill leaves the partitions without a member until the session ends, and no member reads all of them.
        world.stall = SETTLE;
        world.create_topic();
        world.watch(6);
        world.publish();
        world.published(false);
        world.members.start(1);
        while world.missing(|_| true) > 50_000 {
            world.pause(Duration::from_millis(5));
        }
        world.members.kill_one(&Rng::from_environment());
        world.members.start(1);
        let report = world.finish(|_| true);
        let uncommitted = report.uncommitted_at_kill.iter().sum();
        assert!(report.again <= uncommitted, "{report}");
    }
}

#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_killed_broker() {
    let _one = one_test();
    let mut world = World::start(Plan::new("killed broker", Protocol::Cooperative), 2);
    let rng = Rng::from_environment();
    world.pause(Duration::from_secs(4));
    for _ in 0..duration().as_secs().div_ceil(30) {
        world.crash_broker(rng.millis(0.0, 4_000.0));
        world.pause(Duration::from_secs(4));
    }
    world.finish(|_| true);
}

/// Handlers hang, panic, block their thread, fail and refuse their record.
#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_faulty_handlers() {
    let _one = one_test();
    let plan =
        Plan { faults: true, work: Work::Mixed, ..Plan::new("faulty handlers", Protocol::Cooperative) };
    let mut world = World::start(plan, 2);
    world.pause(duration() / 2);
    let report = world.finish(|_| true);
    assert!(report.retried > 0 && report.dropped > 0, "{report}");
    assert_eq!(report.refused, dead_letters(&world), "every refused record is a dead letter");
}

/// Returns the indexes of the records in the topic of dead letters.
fn dead_letters(world: &World) -> HashSet<u32> {
    use rdkafka::{
        Message as _, Offset, TopicPartitionList,
        consumer::{BaseConsumer, Consumer as _},
    };
    let consumer: BaseConsumer =
        world.broker.client().set("group.id", "unused").set("enable.partition.eof", "true").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.dead_letters(), 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut indexes = HashSet::new();
    while let Some(Ok(record)) = consumer.poll(Duration::from_secs(20)) {
        indexes.insert(load::decode(record.payload().unwrap()).1);
    }
    indexes
}
