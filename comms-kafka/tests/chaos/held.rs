//! One key fails for ever, with a tenth of the flow. The other keys go on.

use std::{thread, time::Duration};

use crate::{
    one_test,
    world::{Plan, Protocol, World, duration},
};

/// The partition of the held key may stop at the gap limit, the other partitions do not stop.
#[test]
#[ignore = "starts Apache Kafka; run scripts/test"]
fn chaos_held_key_stops_no_other_key() {
    let _one = one_test();
    thread::scope(|scope| {
        scope.spawn(|| held("held key with a gap of 2000", Some(2_000)));
        scope.spawn(|| held("held key with default limits", None));
    });
}

fn held(name: &'static str, max_gap: Option<usize>) {
    let mut plan = Plan { held: true, max_gap, ..Plan::new(name, Protocol::Cooperative) };
    // More held records than a consumer has room for by default (4,096 records).
    plan.flow = crate::load::Flow { rate: 5_000, hot: true, count: None };
    let flow = plan.flow;
    let mut world = World::start(plan, 1);
    world.pause(duration().max(Duration::from_secs(10)));
    world.published(true);
    let acks = world.acks.lock().unwrap().clone();
    let hot = acks.iter().enumerate().filter(|(index, _)| flow.key(u32::try_from(*index).unwrap()) == 0);
    let hot: Vec<_> = hot.filter_map(|(_, ack)| *ack).collect();
    let (partition, first) = (hot[0].partition, hot.iter().map(|ack| ack.offset).min().unwrap());
    let place = |index: u32| acks[index as usize].unwrap();
    let elsewhere = |index: u32| place(index).partition != partition;
    let beside = |index: u32| place(index).partition == partition && flow.key(index) != 0;
    let within = |index: u32| beside(index) && place(index).offset < first + 2_000;

    let settled = world.settle(elsewhere);
    let (missing, total) = (world.missing(elsewhere), acks.iter().flatten().count());
    let (stuck, in_gap) = (world.missing(beside), world.missing(within));
    let held = world.missing(|index| flow.key(index) == 0);
    println!(
        "{name}: {total} records, held {held} of {}; other partitions: {missing} not handled after {settled:.1?}; the \
         same partition: {stuck} of other keys not handled, {in_gap} of those in the first 2,000 records",
        hot.len()
    );
    world.repair();
    let after = world.settle(|_| true);
    println!("{name}: everything handled {after:.1?} after the repair");
    assert_eq!(held, hot.len(), "{name}: a held record was handled");
    assert_eq!((missing, in_gap), (0, 0), "{name}: other keys were not handled while one was held");
    world.excused = Some(partition);
    world.finish(|_| true);
}
