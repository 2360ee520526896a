//! Tracks the completed records of a source, and computes the offset that may be acknowledged.

use std::collections::VecDeque;

/// The delivered offsets of one source, in the order of delivery.
///
/// The frontier is the offset to acknowledge: all records before it are complete. It advances over delivered records
/// only, so a gap that compaction or an aborted transaction left does not stop it. Offsets need not increase: those of a
/// topic that was created again begin at 0.
///
/// A record that is complete before the next one is delivered costs no memory access beyond this struct. The memory is
/// 16 bytes for each record from the first incomplete one on, so the owner bounds [`backlog`](Self::backlog).
///
/// ```
/// use comms_core::transport::Frontier;
/// let mut frontier = Frontier::default();
/// let (first, second) = (frontier.deliver(10), frontier.deliver(11));
/// frontier.complete(second);
/// assert_eq!((frontier.offset(), frontier.backlog()), (None, 2));
/// frontier.complete(first);
/// assert_eq!((frontier.offset(), frontier.backlog()), (Some(12), 0));
/// ```
#[derive(Debug, Default)]
pub struct Frontier {
    /// The only record, while no other one has been delivered after it.
    single: Option<i64>,
    ring: VecDeque<Slot>,
    /// The ticket of `single`, or of the record at the front of `ring`.
    first: u64,
    offset: Option<i64>,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    is_complete: bool,
}

impl Frontier {
    /// Adds the delivered record at `offset`. Returns its ticket for [`complete`](Self::complete), which can be its tag
    /// in a [`Worker`](super::Worker).
    #[inline]
    pub fn deliver(&mut self, offset: i64) -> u64 {
        if self.ring.is_empty() {
            match self.single.take() {
                None => {
                    self.single = Some(offset);
                    return self.first;
                }
                Some(single) => self.ring.push_back(Slot { offset: single, is_complete: false }),
            }
        }
        self.ring.push_back(Slot { offset, is_complete: false });
        self.first + self.ring.len() as u64 - 1
    }

    /// Marks the record of `ticket` as complete. A second call with the same ticket has no effect, and neither has an
    /// unknown ticket. Amortized O(1).
    #[inline]
    pub fn complete(&mut self, ticket: u64) {
        match self.single {
            Some(offset) if ticket == self.first => {
                (self.single, self.offset) = (None, Some(offset + 1));
                self.first += 1;
            }
            Some(_) => {}
            None => self.complete_in_ring(ticket),
        }
    }

    fn complete_in_ring(&mut self, ticket: u64) {
        let index = ticket.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.ring.get_mut(index)) {
            slot.is_complete = true;
        }
        while self.ring.front().is_some_and(|slot| slot.is_complete) {
            self.offset = self.ring.pop_front().map(|slot| slot.offset + 1);
            self.first += 1;
        }
    }

    /// Returns the offset to acknowledge: one more than the offset of the last record up to which all records are
    /// complete. `None` until the first record is complete.
    #[must_use]
    pub const fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// Returns the number of records that the frontier does not cover, from the first incomplete one on.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.ring.len() + usize::from(self.single.is_some())
    }

    /// Returns the records that the frontier does not cover, in the order of delivery: the offset of each, and whether it
    /// is complete. The first one is incomplete.
    pub fn records(&self) -> impl Iterator<Item = (i64, bool)> {
        let single = self.single.map(|offset| (offset, false));
        single.into_iter().chain(self.ring.iter().map(|slot| (slot.offset, slot.is_complete)))
    }

    /// Returns the offset of the first incomplete record.
    #[must_use]
    pub fn first_open(&self) -> Option<i64> {
        self.single.or_else(|| self.ring.front().map(|slot| slot.offset))
    }
}

#[cfg(test)]
mod tests;
