//! Tracks the completed records of a partition, and computes the offset that may be committed.

use std::collections::VecDeque;

/// The delivered offsets of one partition in one assignment, in the order of delivery.
///
/// The frontier is the offset to commit. It advances over delivered records only, so a gap that compaction or an
/// aborted transaction left does not stop it. Offsets need not increase: those of a topic that was created again begin
/// at 0.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    ring: VecDeque<Slot>,
    /// The ticket of the record at the front of `ring`.
    first: u64,
    frontier: Option<i64>,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    done: bool,
}

impl Tracker {
    /// Adds the delivered record at `offset`, and returns its ticket for [`Tracker::complete`].
    pub(super) fn deliver(&mut self, offset: i64) -> u64 {
        self.ring.push_back(Slot { offset, done: false });
        self.first + self.ring.len() as u64 - 1
    }

    /// Marks the record of `ticket` as complete. A second call with the same ticket has no effect. Amortized O(1).
    pub(super) fn complete(&mut self, ticket: u64) {
        let index = ticket.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.ring.get_mut(index)) {
            slot.done = true;
        }
        while self.ring.front().is_some_and(|slot| slot.done) {
            self.frontier = self.ring.pop_front().map(|slot| slot.offset + 1);
            self.first += 1;
        }
    }

    /// Returns the offset to commit: one more than the offset of the last record up to which all records are complete.
    /// `None` until the first record is complete.
    pub(super) const fn frontier(&self) -> Option<i64> {
        self.frontier
    }

    /// Returns the number of records that are not covered by the frontier, from the first incomplete one on.
    pub(super) fn backlog(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every delivered record. Each answer is computed from the whole list.
    #[derive(Default)]
    struct Reference(Vec<(i64, bool)>);

    impl Reference {
        fn frontier(&self) -> Option<i64> {
            let done = self.0.iter().take_while(|(_, done)| *done);
            done.last().map(|(offset, _)| offset + 1)
        }
        fn backlog(&self) -> usize {
            self.0.iter().skip_while(|(_, done)| *done).count()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A record. The next offset is higher by this number.
        Deliver(i64),
        /// Any ticket so far, including tickets of complete records.
        Complete(prop::sample::Index),
        /// The partition is revoked, and assigned again at the committed offset.
        Reassign,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1i64..4).prop_map(Step::Deliver),
            5 => any::<prop::sample::Index>().prop_map(Step::Complete),
            1 => Just(Step::Reassign),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference_and_never_passes_an_open_record(steps in prop::collection::vec(step(), 0..300)) {
            let (mut tracker, mut reference) = (Tracker::default(), Reference::default());
            let (mut tickets, mut next, mut committed) = (Vec::new(), 0, None);
            for step in steps {
                match step {
                    Step::Deliver(gap) => {
                        tickets.push(tracker.deliver(next));
                        reference.0.push((next, false));
                        next += gap;
                    }
                    Step::Complete(_) if tickets.is_empty() => {}
                    Step::Complete(index) => {
                        let index = index.index(tickets.len());
                        tracker.complete(tickets[index]);
                        reference.0[index].1 = true;
                    }
                    Step::Reassign => {
                        committed = tracker.frontier().or(committed);
                        next = committed.unwrap_or(0);
                        (tracker, reference) = Default::default();
                        tickets.clear();
                    }
                }
                prop_assert_eq!(tracker.frontier(), reference.frontier());
                prop_assert_eq!(tracker.backlog(), reference.backlog());
                let open = reference.0.iter().find(|(_, done)| !done).map(|(offset, _)| *offset);
                if let (Some(frontier), Some(open)) = (tracker.frontier(), open) {
                    prop_assert!(frontier <= open);
                }
            }
        }
    }

    #[test]
    fn an_unknown_ticket_changes_nothing() {
        let mut tracker = Tracker::default();
        tracker.complete(7);
        let ticket = tracker.deliver(10);
        tracker.complete(ticket + 1);
        assert_eq!((tracker.frontier(), tracker.backlog()), (None, 1));
        tracker.complete(ticket);
        tracker.complete(ticket);
        assert_eq!((tracker.frontier(), tracker.backlog()), (Some(11), 0));
    }
}
