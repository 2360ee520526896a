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

use super::{context::Context, finished::Finished, topic::Topic};
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
    committed: Mutex<Option<Progress>>,
    /// The finished records that a former owner has committed beyond the frontier, until the runner takes them.
    restored: Mutex<Finished>,
    beyond: Mutex<Beyond>,
    /// The runner is to publish the finished records beyond the frontier.
    wants_beyond: AtomicBool,
    /// The end of the log, if it was read from the broker.
    end: AtomicI64,
    /// The runner waits for records, and all records that it has polled are finished.
    idle: AtomicBool,
    /// The timestamp of the first unfinished record, milliseconds since 1970.
    oldest: AtomicI64,
}

/// What is committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) offset: i64,
    /// The finished records beyond `offset`, as [`Finished::to_text`].
    pub(super) beyond: Arc<str>,
}

/// The finished records beyond the frontier, when the runner published them.
#[derive(Default)]
struct Beyond {
    /// One more than the largest offset in `text`.
    end: i64,
    text: Arc<str>,
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
            committed: Mutex::default(),
            restored: Mutex::default(),
            beyond: Mutex::default(),
            wants_beyond: AtomicBool::new(true),
            end: AtomicI64::new(UNKNOWN),
            idle: AtomicBool::new(false),
            oldest: AtomicI64::new(UNKNOWN),
        }
    }

    /// Locks the records that are not polled yet.
    pub(super) fn source(&self) -> MutexGuard<'_, Source> {
        lock(&self.source)
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

    /// Returns what is to be committed, or `None` if it is already committed.
    pub(super) fn uncommitted(&self) -> Option<Progress> {
        let offset = self.frontier()?;
        let beyond = lock(&self.beyond);
        let text = if beyond.end > offset { beyond.text.clone() } else { Arc::default() };
        let progress = Progress { offset, beyond: text };
        (lock(&self.committed).as_ref() != Some(&progress)).then_some(progress)
    }

    /// Records that `progress` is committed.
    pub(super) fn set_committed(&self, progress: Progress) {
        *lock(&self.committed) = Some(progress);
    }

    /// Asks the runner to publish the finished records beyond the frontier.
    pub(super) fn request_beyond(&self) {
        self.wants_beyond.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Returns whether the finished records beyond the frontier are to be published. The request is taken.
    pub(super) fn takes_request(&self) -> bool {
        self.wants_beyond.load(Ordering::Relaxed) && self.wants_beyond.swap(false, Ordering::Relaxed)
    }

    /// Publishes the finished records beyond the frontier.
    pub(super) fn set_beyond(&self, finished: &Finished) {
        *lock(&self.beyond) = Beyond { end: finished.end(), text: finished.to_text().into() };
    }

    /// Sets the finished records that a former owner has committed beyond its frontier. They are committed again until the
    /// runner publishes its own.
    pub(super) fn restore(&self, finished: Finished) {
        self.set_beyond(&finished);
        *lock(&self.restored) = finished;
    }

    /// Takes the finished records that a former owner has committed beyond its frontier.
    pub(super) fn take_restored(&self) -> Finished {
        std::mem::take(&mut *lock(&self.restored))
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn progress(offset: i64, beyond: &str) -> Option<Progress> {
        Some(Progress { offset, beyond: beyond.into() })
    }

    #[test]
    fn a_frontier_is_committed_once() {
        let assignment = assignment();
        assert_eq!(assignment.uncommitted(), None);
        assignment.set_frontier(7);
        assert_eq!(assignment.uncommitted(), progress(7, ""));
        assignment.set_committed(assignment.uncommitted().unwrap());
        assert_eq!((assignment.frontier(), assignment.uncommitted()), (Some(7), None));
        // The offsets of a topic that was created again begin at 0.
        assignment.set_frontier(1);
        assert_eq!(assignment.uncommitted(), progress(1, ""));
    }

    #[test]
    fn finished_records_beyond_the_frontier_are_committed_until_it_has_passed_them() {
        let assignment = assignment();
        assignment.set_frontier(7);
        assignment.set_committed(assignment.uncommitted().unwrap());
        let finished = Finished::collect([(7, false), (8, true), (9, true)].into_iter());
        assignment.set_beyond(&finished);
        assert_eq!(assignment.uncommitted(), progress(7, &finished.to_text()));
        assignment.set_committed(assignment.uncommitted().unwrap());
        assert_eq!(assignment.uncommitted(), None);
        assignment.set_frontier(10);
        assert_eq!(assignment.uncommitted(), progress(10, ""));
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
