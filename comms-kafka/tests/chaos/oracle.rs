//! Checks the ledger of one scenario against what the broker has acknowledged.
//!
//! The checks need no event about an assignment. A record may begin only after every earlier record of its key in its
//! partition was handled once, by any member: an assignment starts at a committed offset, and everything below it
//! was handled. A new assignment of a partition is seen by a record of another member, or by a record that its member
//! has already handled since the last one.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    ledger::{Event, Kind},
    load::{Acks, Flow},
    report::Report,
    stalls,
};

/// A partition of the topic, with its records in the order of their offsets.
#[derive(Default)]
struct Log {
    records: Vec<(i64, u32)>,
    /// All records before this position are finished.
    finished: usize,
    committed: i64,
    owner: u16,
    /// When each member last began a record.
    active: HashMap<u16, u64>,
    /// What the owner has handled in this assignment.
    handled: HashSet<u32>,
}

/// An attempt that has not ended.
#[derive(Clone, Copy)]
struct Open {
    member: u16,
    index: u32,
    /// Another member was at the partition, and one of the two had been stopped.
    beside: bool,
}

/// A member that began a record within this time is at the partition, in milliseconds.
const ACTIVE: u64 = 300;

struct Oracle<'a> {
    acks: &'a Acks,
    flow: Flow,
    stopped: &'a [u16],
    logs: BTreeMap<i32, Log>,
    /// The records of each key in each partition, by offset, and the number of those that are finished from the first.
    chains: HashMap<(i32, u32), (Vec<u32>, usize)>,
    finished: Vec<bool>,
    open: HashMap<(i32, u32), Vec<Open>>,
    report: Report,
}

/// Checks `events`. A record for which `counts` is false may be missing: it was deleted, or it is held.
pub fn check(
    events: &[Event],
    acks: &Acks,
    flow: Flow,
    stopped: &[u16],
    counts: impl Fn(u32) -> bool,
) -> Report {
    let mut oracle = Oracle::new(acks, flow, stopped);
    for (index, finished) in oracle.finished.iter_mut().enumerate() {
        *finished = !counts(u32::try_from(index).unwrap());
    }
    for event in events {
        oracle.apply(event);
    }
    let mut report = oracle.report;
    let missing = |index: &u32| acks[*index as usize].is_some() && !oracle.finished[*index as usize];
    report.lost = (0..u32::try_from(acks.len()).unwrap()).filter(missing).collect();
    report.records = acks.iter().flatten().count();
    report.longest_pause = stalls::longest(events, acks, counts);
    report
}

impl<'a> Oracle<'a> {
    fn new(acks: &'a Acks, flow: Flow, stopped: &'a [u16]) -> Self {
        let mut logs = BTreeMap::<i32, Log>::new();
        for (index, ack) in acks.iter().enumerate() {
            let Some(ack) = ack else { continue };
            let index = u32::try_from(index).unwrap();
            logs.entry(ack.partition).or_default().records.push((ack.offset, index));
        }
        let mut chains = HashMap::<_, (Vec<u32>, usize)>::new();
        for (partition, log) in &mut logs {
            log.records.sort_unstable();
            for (_, index) in &log.records {
                chains.entry((*partition, flow.key(*index))).or_default().0.push(*index);
            }
        }
        let (finished, report) = (vec![false; acks.len()], Report::default());
        Self { acks, flow, stopped, logs, chains, finished, open: HashMap::new(), report }
    }

    fn apply(&mut self, event: &Event) {
        match event.kind {
            Kind::Begin => self.begin(event.process, event.number, event.time),
            Kind::End => self.end(event.process, event.number),
            Kind::Refuse => {
                self.report.refused.insert(event.number);
                self.end(event.process, event.number);
            }
            Kind::Fail => {
                self.report.retried += 1;
                let _ = self.close(event.process, event.number);
            }
            Kind::Drop => {
                self.report.dropped += 1;
                let _ = self.close(event.process, event.number);
            }
            Kind::Committed => self.committed(i32::from(event.process), i64::from(event.number)),
            Kind::Killed => self.killed(event.process),
            // The new owner handles what is open now, before the stopped member continues and ends it.
            Kind::Stopped => {
                let open = self.open.values_mut().flatten();
                open.filter(|open| open.member == event.process).for_each(|open| open.beside = true);
            }
            Kind::BrokerDown | Kind::BrokerUp => {}
        }
    }

    /// Returns partition, offset and key of an acknowledged record.
    fn place(&self, index: u32) -> Option<(i32, i64, u32)> {
        let ack = self.acks.get(index as usize).copied().flatten()?;
        Some((ack.partition, ack.offset, self.flow.key(index)))
    }

    fn begin(&mut self, member: u16, index: u32, time: u64) {
        let Some((partition, offset, key)) = self.place(index) else { return };
        let (chain, first) = self.chains.get_mut(&(partition, key)).unwrap();
        while chain.get(*first).is_some_and(|index| self.finished[*index as usize]) {
            *first += 1;
        }
        let unfinished = chain.get(*first).and_then(|index| self.acks[*index as usize]);
        if unfinished.is_some_and(|earlier| earlier.offset < offset) {
            self.report.out_of_order += 1;
            let earlier = unfinished.unwrap().offset;
            self.example(format!("member {member} begins {partition}@{offset}, {earlier} is unfinished"));
        }
        self.overlap(member, partition, key);
        let stopped = self.stopped;
        let log = self.logs.get_mut(&partition).unwrap();
        log.active.insert(member, time);
        let beside = log.active.iter().any(|(other, last)| {
            let stopped = stopped.contains(other) || stopped.contains(&member);
            *other != member && stopped && time.saturating_sub(*last) < ACTIVE
        });
        let beside = beside || stopped.contains(&member) && offset < log.committed;
        self.open.entry((partition, key)).or_default().push(Open { member, index, beside });
        if !beside && (log.owner != member || log.handled.contains(&index)) {
            log.owner = member;
            log.handled.clear();
            self.report.assignments += 1;
            // What another member has begun may still end there, after the new owner has begun it as well.
            let open = self.open.iter().filter(|((at, _), _)| *at == partition).flat_map(|(_, open)| open);
            let begun = open.filter(|open| open.member != member).count();
            self.report.bound += log.uncommitted(&self.finished) + begun;
        }
        if offset < log.committed {
            let committed = log.committed;
            let known = self.stopped.contains(&member);
            self.report.below_commit_by_stopped += usize::from(known);
            self.report.below_commit += usize::from(!known);
            if !known {
                self.example(format!(
                    "member {member} begins {partition}@{offset}, {committed} is committed"
                ));
            }
        }
    }

    /// Counts the handlers of the key that run while another one begins.
    fn overlap(&mut self, member: u16, partition: i32, key: u32) {
        for open in self.open.get(&(partition, key)).into_iter().flatten() {
            let stopped = self.stopped.contains(&open.member) || self.stopped.contains(&member);
            match (open.member == member, stopped) {
                (true, _) => self.report.overlaps += 1,
                (false, true) => self.report.overlaps_with_stopped += 1,
                (false, false) => self.report.overlaps_across += 1,
            }
        }
    }

    fn end(&mut self, member: u16, index: u32) {
        let beside = self.close(member, index);
        let Some((partition, ..)) = self.place(index) else { return };
        let log = self.logs.get_mut(&partition).unwrap();
        if log.owner == member {
            log.handled.insert(index);
        }
        match (std::mem::replace(&mut self.finished[index as usize], true), beside) {
            (false, _) => self.report.handled += 1,
            (true, false) => self.report.again += 1,
            (true, true) => self.report.again_with_stopped += 1,
        }
    }

    /// Returns whether two members were at the partition when the attempt began.
    fn close(&mut self, member: u16, index: u32) -> bool {
        let Some((partition, _, key)) = self.place(index) else { return false };
        let open = self.open.entry((partition, key)).or_default();
        let at = open.iter().position(|one| (one.member, one.index) == (member, index));
        at.is_some_and(|at| open.swap_remove(at).beside)
    }

    fn committed(&mut self, partition: i32, offset: i64) {
        self.report.commits += 1;
        let Some(log) = self.logs.get_mut(&partition) else { return };
        self.report.commits_back += usize::from(offset < log.committed);
        log.committed = offset;
        while log.records.get(log.finished).is_some_and(|(_, index)| self.finished[*index as usize]) {
            log.finished += 1;
        }
        let unfinished = log.records.get(log.finished).map(|(offset, _)| *offset);
        if let Some(unfinished) = unfinished.filter(|unfinished| *unfinished < offset) {
            self.report.past_unfinished += 1;
            self.example(format!("{partition}@{offset} is committed, {unfinished} is unfinished"));
        }
    }

    fn killed(&mut self, member: u16) {
        self.open.values_mut().for_each(|open| open.retain(|one| one.member != member));
        let owned = self.logs.values().filter(|log| log.owner == member);
        let uncommitted = owned.map(|log| log.uncommitted(&self.finished)).sum();
        self.report.uncommitted_at_kill.push(uncommitted);
    }

    fn example(&mut self, text: String) {
        if self.report.examples.len() < 5 {
            self.report.examples.push(text);
        }
    }
}

impl Log {
    /// Returns the number of records that are handled, at or above the committed offset.
    fn uncommitted(&self, finished: &[bool]) -> usize {
        let from = self.records.partition_point(|(offset, _)| *offset < self.committed);
        self.records[from..].iter().filter(|(_, index)| finished[*index as usize]).count()
    }
}
