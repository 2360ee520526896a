//! One partition, from its assignment to this member until its revocation.

use metrics::Counter;
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use super::{budget::Budget, tracker::Tracker};
use comms_core::{telemetry, transport::Processor};

/// A partition from its assignment to its revocation.
///
/// A partition that is assigned again gets a new `Assignment`, so a record of the old one that completes late commits
/// nothing.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) processor: Processor,
    /// Cancelled when the revocation begins: waits between attempts end, running attempts continue.
    pub(super) closed: CancellationToken,
    /// Cancelled when the partition is revoked: running attempts end as well.
    pub(super) revoked: CancellationToken,
    pub(super) consumed: Counter,
    /// Whether the client was last asked to pause the partition. Only the poll thread uses this field.
    paused: AtomicBool,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tracker: Tracker,
    /// The number of records in their handlers, or being written as dead letters.
    running: usize,
    /// No further record starts.
    closing: bool,
    /// The last offset that was committed for this assignment.
    committed: Option<i64>,
}

impl Assignment {
    pub(super) fn new(topic: &Arc<str>, partition: i32, processor: Processor, group: &str) -> Self {
        let labels = [
            ("messaging.system", "kafka".to_owned()),
            ("messaging.destination.name", topic.to_string()),
            ("messaging.consumer.group.name", group.to_owned()),
        ];
        Self {
            topic: topic.clone(),
            partition,
            processor,
            closed: CancellationToken::new(),
            revoked: CancellationToken::new(),
            consumed: metrics::counter!(telemetry::CONSUMED_MESSAGES, &labels),
            paused: AtomicBool::new(false),
            state: Mutex::default(),
            idle: Condvar::new(),
        }
    }

    /// Returns the number of records from the first incomplete one on.
    pub(super) fn backlog(&self) -> usize {
        self.lock().tracker.backlog()
    }

    /// Returns the frontier, see [`Tracker::frontier`].
    pub(super) fn frontier(&self) -> Option<i64> {
        self.lock().tracker.frontier()
    }

    /// Returns the offset to commit, or `None` if it is already committed.
    pub(super) fn uncommitted(&self) -> Option<i64> {
        let state = self.lock();
        state.tracker.frontier().filter(|frontier| state.committed != Some(*frontier))
    }

    /// Records that `offset` is committed.
    pub(super) fn committed(&self, offset: i64) {
        self.lock().committed = Some(offset);
    }

    /// Stops further records from starting, and ends the waits between attempts.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.closed.cancel();
    }

    /// Returns whether no record is running.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().running == 0
    }

    /// Blocks until no record is running, for at most `limit`.
    pub(super) fn wait_idle(&self, limit: Duration) {
        let waited = self.idle.wait_timeout_while(self.lock(), limit, |state| state.running > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record in flight, from its dispatch until it is handled.
///
/// If it is dropped without [`Flight::complete`], for example by a panic or at the end of the runtime, the record stays
/// incomplete and its offset is never committed.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) assignment: Arc<Assignment>,
    budget: Arc<Budget>,
    size: usize,
    ticket: u64,
    started: bool,
    done: bool,
}

impl Flight {
    /// Registers the delivered record at `offset`, which takes `size` bytes of the budget.
    pub(super) fn new(assignment: Arc<Assignment>, budget: Arc<Budget>, offset: i64, size: usize) -> Self {
        budget.enter(size);
        let ticket = assignment.lock().tracker.deliver(offset);
        Self { assignment, budget, size, ticket, started: false, done: false }
    }

    /// Starts the record. Returns `false` if the assignment is closing.
    pub(super) fn start(&mut self) -> bool {
        let mut state = self.assignment.lock();
        self.started = !state.closing;
        state.running += usize::from(self.started);
        self.started
    }

    /// Marks the record as complete: it is handled, or written as a dead letter.
    pub(super) fn complete(mut self) {
        self.done = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.assignment.lock();
        if self.done {
            state.tracker.complete(self.ticket);
        }
        state.running -= usize::from(self.started);
        if state.closing && state.running == 0 {
            self.assignment.idle.notify_all();
        }
        drop(state);
        self.budget.leave(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{
        Delivery, Outcome,
        clock::Clock,
        handler_fn,
        transport::{AttemptConfig, BoxHandler},
    };

    fn assignment() -> (Arc<Assignment>, Arc<Budget>) {
        let handler = BoxHandler::new(handler_fn(|_: Delivery| async { Ok(Outcome::Done) }));
        let processor = Processor::new(handler, AttemptConfig::default(), Clock::system(), "kafka");
        let assignment = Assignment::new(&"orders".into(), 0, processor, "group");
        (Arc::new(assignment), Arc::new(Budget::new(10, 1_000)))
    }

    #[test]
    fn commits_only_what_is_complete_and_only_once() {
        let (assignment, budget) = assignment();
        let mut flights = [5, 6, 9].map(|offset| Flight::new(assignment.clone(), budget.clone(), offset, 1));
        assert!(flights.iter_mut().all(Flight::start));
        let [first, second, third] = flights;
        second.complete();
        assert_eq!(assignment.uncommitted(), None, "5 is open");
        first.complete();
        assert_eq!(assignment.uncommitted(), Some(7));
        assignment.committed(7);
        assert_eq!(assignment.uncommitted(), None);
        drop(third);
        assert!(assignment.is_idle());
        assert_eq!((assignment.uncommitted(), assignment.backlog()), (None, 1), "dropped is not done");
    }

    #[test]
    fn a_closing_assignment_begins_nothing_and_waits_for_what_runs() {
        let (assignment, budget) = assignment();
        let mut running = Flight::new(assignment.clone(), budget.clone(), 1, 1);
        let mut waiting = Flight::new(assignment.clone(), budget, 2, 1);
        assert!(running.start());
        assignment.close();
        assert!(!waiting.start());
        assignment.wait_idle(Duration::from_millis(1));
        assert!(!assignment.is_idle());
        std::thread::scope(|scope| {
            let idle = scope.spawn(|| assignment.wait_idle(Duration::from_secs(30)));
            running.complete();
            idle.join().unwrap();
        });
        assert_eq!(assignment.uncommitted(), Some(2));
    }
}
