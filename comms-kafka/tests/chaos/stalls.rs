//! How long a partition made no progress although it had a backlog.

use std::collections::{BTreeMap, HashSet};

use crate::{
    ledger::{Event, Kind},
    load::Acks,
};

enum Step {
    Acknowledged,
    HandledFirst,
    HandledAgain,
    BrokerDown,
    BrokerUp,
}

/// Returns the longest pause of each partition in milliseconds. Records for which `counts` is false are no backlog, and
/// the time without a broker is no pause.
pub fn longest(events: &[Event], acks: &Acks, counts: impl Fn(u32) -> bool) -> BTreeMap<i32, u64> {
    let mut steps = BTreeMap::<i32, Vec<(u64, Step)>>::new();
    for (index, ack) in acks.iter().enumerate() {
        if let Some(ack) = ack.filter(|_| counts(u32::try_from(index).unwrap())) {
            steps.entry(ack.partition).or_default().push((ack.time, Step::Acknowledged));
        }
    }
    let mut seen = HashSet::new();
    for event in events {
        match event.kind {
            Kind::End | Kind::Refuse if counts(event.number) => {
                let Some(ack) = acks.get(event.number as usize).copied().flatten() else { continue };
                let first = seen.insert(event.number);
                let step = if first { Step::HandledFirst } else { Step::HandledAgain };
                steps.entry(ack.partition).or_default().push((event.time, step));
            }
            Kind::BrokerDown => steps.values_mut().for_each(|all| all.push((event.time, Step::BrokerDown))),
            Kind::BrokerUp => steps.values_mut().for_each(|all| all.push((event.time, Step::BrokerUp))),
            _ => {}
        }
    }
    steps.into_iter().map(|(partition, steps)| (partition, longest_of(steps))).collect()
}

fn longest_of(mut steps: Vec<(u64, Step)>) -> u64 {
    steps.sort_by_key(|(time, _)| *time);
    let (mut backlog, mut since, mut down, mut longest) = (0_i64, 0, false, 0);
    for (time, step) in steps {
        if backlog > 0 && !down {
            longest = longest.max(time - since);
        }
        match step {
            Step::Acknowledged => {
                backlog += 1;
                since = if backlog == 1 { time } else { since };
            }
            Step::HandledFirst => (backlog, since) = (backlog - 1, time),
            Step::HandledAgain => since = time,
            Step::BrokerDown => down = true,
            Step::BrokerUp => (down, since) = (false, time),
        }
    }
    longest
}
