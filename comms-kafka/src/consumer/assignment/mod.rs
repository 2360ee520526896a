//! One partition, from its assignment to this member until its revocation: the state that the poll thread, the
//! committer and the runner of the partition share.

mod all;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
};

use rdkafka::consumer::base_consumer::PartitionQueue;
use tokio::sync::Notify;

use super::{context::Context, topic::Topic};
use crate::record::Incoming;
pub(super) use all::Assignments;

/// The value of an offset that is not known yet.
const UNKNOWN: i64 = -1;

/// What the runner of a partition is to do. A phase is never left for an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Poll the queue and handle its records.
    Run,
    /// Begin nothing further. Running attempts may finish.
    Stop,
    /// Drop all running attempts.
    Cut,
}

/// A partition from its assignment to its revocation.
///
/// A partition that is assigned again gets a new `Assignment`. What a late runner of the old one completes changes the
/// frontier of the old one only, which is not read after the revocation.
pub(super) struct Assignment {
    pub(super) topic: Arc<Topic>,
    pub(super) partition: i32,
    /// Wakes the runner: the queue is no longer empty, the phase has changed, or the topic is resumed.
    pub(super) wake: Arc<Notify>,
    source: Mutex<Source>,
    phase: AtomicU8,
    /// Set when the partition is taken out of the map of assignments. Nothing but the revocation commits it any more.
    gone: AtomicBool,
    /// The runner has ended, or was dropped.
    ended: AtomicBool,
    /// The offset that may be committed.
    frontier: AtomicI64,
    committed: AtomicI64,
    /// The end of the log, if it was read from the broker.
    end: AtomicI64,
    /// The runner waits for records, and all records that it has polled are finished.
    idle: AtomicBool,
    /// The timestamp of the first unfinished record, milliseconds since 1970.
    oldest: AtomicI64,
}

/// The records of the partition that no handler has received yet.
///
/// The lock is held to poll a chunk, and never while a handler runs. So a handler that blocks its thread cannot keep
/// the poll thread from taking the queue.
#[derive(Default)]
pub(super) struct Source {
    /// `None` after the revocation.
    pub(super) queue: Option<PartitionQueue<Context>>,
    /// Records that arrived on the main queue of the client. They are older than those in `queue`.
    pub(super) early: VecDeque<Incoming>,
}

impl Assignment {
    pub(super) fn new(topic: Arc<Topic>, partition: i32) -> Self {
        Self {
            topic,
            partition,
            wake: Arc::default(),
            source: Mutex::default(),
            phase: AtomicU8::new(Phase::Run as u8),
            gone: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            frontier: AtomicI64::new(UNKNOWN),
            committed: AtomicI64::new(UNKNOWN),
            end: AtomicI64::new(UNKNOWN),
            idle: AtomicBool::new(false),
            oldest: AtomicI64::new(UNKNOWN),
        }
    }

    /// Locks the records that are not polled yet.
    pub(super) fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Run,
            1 => Phase::Stop,
            _ => Phase::Cut,
        }
    }

    /// Moves on to `phase` and wakes the runner. Has no effect if the phase is a later one.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake.notify_one();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Returns the offset up to which all records are finished, or `None` if no record is finished yet.
    pub(super) fn frontier(&self) -> Option<i64> {
        known(self.frontier.load(Ordering::Acquire))
    }

    /// Publishes the frontier. The runner does so at each finished record, because a later handler may block its thread.
    pub(super) fn set_frontier(&self, offset: i64) {
        self.frontier.store(offset, Ordering::Release);
    }

    /// Returns the offset to commit, or `None` if it is already committed.
    pub(super) fn uncommitted(&self) -> Option<i64> {
        self.frontier().filter(|frontier| *frontier != self.committed.load(Ordering::Acquire))
    }

    /// Records that `offset` is committed.
    pub(super) fn set_committed(&self, offset: i64) {
        self.committed.store(offset, Ordering::Release);
    }

    /// Returns the end of the log, if it was read from the broker.
    pub(super) fn end(&self) -> Option<i64> {
        known(self.end.load(Ordering::Relaxed))
    }

    pub(super) fn set_end(&self, offset: i64) {
        self.end.store(offset, Ordering::Relaxed);
    }

    /// Returns whether the runner waits for records and all records that it has polled are finished.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Release);
    }

    /// Sets the timestamp of the first unfinished record that was polled, milliseconds since 1970.
    pub(super) fn set_oldest(&self, timestamp: Option<i64>) {
        self.oldest.store(timestamp.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// Returns the timestamp of the first unfinished record that was polled.
    pub(super) fn oldest(&self) -> Option<i64> {
        known(self.oldest.load(Ordering::Relaxed))
    }
}

fn known(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment() -> Assignment {
        Assignment::new(Arc::new(Topic::of_test("orders")), 0)
    }

    #[test]
    fn a_frontier_is_committed_once() {
        let assignment = assignment();
        assert_eq!(assignment.uncommitted(), None);
        assignment.set_frontier(7);
        assert_eq!(assignment.uncommitted(), Some(7));
        assignment.set_committed(7);
        assert_eq!((assignment.frontier(), assignment.uncommitted()), (Some(7), None));
        // The offsets of a topic that was created again begin at 0.
        assignment.set_frontier(1);
        assert_eq!(assignment.uncommitted(), Some(1));
    }

    #[test]
    fn a_phase_is_never_left_for_an_earlier_one() {
        let assignment = assignment();
        assert_eq!(assignment.phase(), Phase::Run);
        assignment.advance(Phase::Cut);
        assignment.advance(Phase::Stop);
        assert_eq!(assignment.phase(), Phase::Cut);
    }
}
