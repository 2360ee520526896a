//! Topics that are created late, get more partitions, are deleted and created again, or have lost their oldest records.

use std::{thread, time::Duration};

use crate::{
    load::Flow,
    with_protocols,
    world::{Plan, Protocol, World},
};

/// The time in which a member takes up a new topic or partition.
const TAKEN_UP: Duration = Duration::from_secs(30);

#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_topics_change() {
    with_protocols(&[Protocol::Cooperative, Protocol::Kip848], |protocol| {
        thread::scope(|scope| {
            scope.spawn(|| created_late(protocol));
            scope.spawn(|| more_partitions(protocol));
            scope.spawn(|| created_again(protocol));
            scope.spawn(|| records_deleted(protocol));
        });
    });
}

fn plan(name: &'static str, protocol: Protocol) -> Plan {
    let flow = Flow { rate: 1_000, hot: false, count: Some(2_000) };
    Plan { flow, partitions: 3, ..Plan::new(name, protocol) }
}

fn created_late(protocol: Protocol) {
    let mut world = World::new(plan("topic created late", protocol));
    world.members.start(1);
    world.pause(Duration::from_secs(3));
    world.create_topic();
    world.watch(3);
    world.publish();
    world.published(false);
    let taken_up = world.settle(|_| true);
    assert!(taken_up < TAKEN_UP, "{protocol:?}: {taken_up:?}");
    world.finish(|_| true);
}

fn more_partitions(protocol: Protocol) {
    let mut world = World::new(plan("topic with more partitions", protocol));
    world.create_topic();
    world.watch(6);
    world.members.start(1);
    world.publish();
    world.pause(Duration::from_secs(1));
    world.broker.grow(&world.topic, 6);
    world.published(false);
    // The producer takes up the new partitions within 2 s.
    world.pause(Duration::from_secs(2));
    world.publish();
    world.published(false);
    let taken_up = world.settle(|_| true);
    let grown = world.acks.lock().unwrap().iter().flatten().filter(|ack| ack.partition >= 3).count();
    println!("{protocol:?}: {grown} records in new partitions, handled after {taken_up:.1?}");
    assert!(grown > 0, "the producer has not used the new partitions");
    assert!(taken_up < TAKEN_UP, "{protocol:?}: {taken_up:?}");
    world.finish(|_| true);
}

/// The offsets of the new topic begin at 0. Without a watch of the commits, because they may go back.
fn created_again(protocol: Protocol) {
    let mut world = World::new(plan("topic created again", protocol));
    world.create_topic();
    world.members.start(1);
    world.publish();
    world.published(false);
    world.settle(|_| true);
    world.broker.delete(&world.topic);
    world.pause(Duration::from_secs(2));
    world.broker.create(&world.topic, 3);
    let old = world.acks.lock().unwrap().clone();
    world.publish();
    world.published(false);
    let taken_up = world.settle(|_| true);
    println!("{protocol:?}: the new topic was read after {taken_up:.1?}, {} lost", world.missing(|_| true));
    assert_eq!(world.missing(|index| index as usize >= old.len()), 0, "{protocol:?}: {taken_up:?}");
    world.members.leave();
    assert!(world.members.bad.is_empty(), "{:?}", world.members.bad);
}

/// The committed offset lies below the first record that is left, and `auto.offset.reset` is `earliest`.
fn records_deleted(protocol: Protocol) {
    let mut world = World::new(plan("records deleted", protocol));
    world.create_topic();
    world.watch(3);
    world.members.start(1);
    world.publish();
    world.published(false);
    world.settle(|_| true);
    world.members.leave();
    let read = world.acks.lock().unwrap().len();
    world.publish();
    world.published(false);
    let acks = world.acks.lock().unwrap().clone();
    let cut = acks.iter().flatten().map(|ack| ack.offset).max().unwrap() - 100;
    world.broker.delete_records(&world.topic, 3, 900.min(cut));
    world.members.start(1);
    let deleted = |index: u32| {
        let ack = acks[index as usize];
        index as usize >= read && ack.is_some_and(|ack| ack.offset < 900.min(cut))
    };
    let report = world.finish(|index| !deleted(index));
    let gone = (0..u32::try_from(acks.len()).unwrap()).filter(|index| deleted(*index)).count();
    assert!(gone > 0, "no record was deleted before it was read");
    println!("{protocol:?}: {gone} deleted before they were read, {} handled", report.handled);
}
