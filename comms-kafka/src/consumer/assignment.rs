//! One partition for as long as this member holds it once.

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

/// A partition from its assignment to its revocation: the epoch that gates every commit. When the
/// partition comes back it is another `Assignment`, so a late completion of the old one reaches nothing.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) processor: Processor,
    /// The partition is about to go: waits of its records end, tries may finish.
    pub(super) closed: CancellationToken,
    /// The partition is gone: tries of its records end too.
    pub(super) revoked: CancellationToken,
    pub(super) consumed: Counter,
    /// What the client was last told; the poll thread's own.
    paused: AtomicBool,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tracker: Tracker,
    /// Records in their handlers, or on their way to the dead letters.
    running: usize,
    /// Nothing more begins.
    closing: bool,
    /// What the group has of this assignment.
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

    /// Records behind the frontier.
    pub(super) fn backlog(&self) -> usize {
        self.lock().tracker.backlog()
    }

    /// The frontier, where there is one.
    pub(super) fn frontier(&self) -> Option<i64> {
        self.lock().tracker.frontier()
    }

    /// The offset to commit, if the group does not have it yet.
    pub(super) fn uncommitted(&self) -> Option<i64> {
        let state = self.lock();
        state.tracker.frontier().filter(|frontier| state.committed != Some(*frontier))
    }

    /// The group has `offset`.
    pub(super) fn committed(&self, offset: i64) {
        self.lock().committed = Some(offset);
    }

    /// No record begins any more, and none waits to be tried again.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.closed.cancel();
    }

    /// Whether no record is running.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().running == 0
    }

    /// Blocks until no record is running, at most for `limit`.
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

/// A record between dispatch and its end. Dropped without [`Flight::complete`], also by a panic or the end
/// of the runtime, the record stays open and its offset is never committed.
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
    /// The record at `offset` was delivered; it takes `size` bytes of the budget.
    pub(super) fn new(assignment: Arc<Assignment>, budget: Arc<Budget>, offset: i64, size: usize) -> Self {
        budget.enter(size);
        let ticket = assignment.lock().tracker.deliver(offset);
        Self { assignment, budget, size, ticket, started: false, done: false }
    }

    /// Begins, unless the assignment is closing.
    pub(super) fn start(&mut self) -> bool {
        let mut state = self.assignment.lock();
        self.started = !state.closing;
        state.running += usize::from(self.started);
        self.started
    }

    /// The record is handled, or stands in the dead letters.
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
