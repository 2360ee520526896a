//! Why a topic is held, and when it is attempted again.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, clock::Clock, resilience::Backoff};

use super::{
    in_flight::RowAge,
    store::{Lane, Position},
};
use crate::parked::sanitize;

/// Interval between two log lines about a topic that stays held.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Upper limit of a publisher's `retry_after`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A refusal of a whole topic: it does not exist, this process may not write to it, or its broker is away.
#[derive(Debug)]
pub(super) struct Fault {
    /// The position before the first refused row, where delivery continues.
    pub(super) position: Position,
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
    pub(super) since: Instant,
    pub(super) age: Option<RowAge>,
    /// Keys with a refused row. Their later rows are delivered again even if they were acknowledged, to keep the order.
    pub(super) lanes: HashSet<Lane>,
    failures: u32,
    retry_after: Option<Duration>,
    logged_at: Option<Instant>,
    /// Rows of the topic are still in flight. The next attempt waits for them.
    pub(super) settling: bool,
}

impl Fault {
    pub(super) fn new(position: Position, error: &Error, age: Option<RowAge>, clock: &Clock) -> Self {
        let mut fault = Self {
            position: position.clone(),
            kind: error.kind,
            reason: String::new(),
            since: clock.now(),
            age,
            lanes: HashSet::new(),
            failures: 0,
            retry_after: None,
            logged_at: None,
            settling: true,
        };
        fault.record_failure(position, error);
        fault
    }

    /// Restores the fault that an earlier session stored. The topic is attempted again at once.
    pub(super) fn restored(position: Position, kind: ErrorKind, reason: String, clock: &Clock) -> Self {
        Self { reason, settling: false, ..Self::new(position, &Error::new(kind, ""), None, clock) }
    }

    /// Records that another attempt was refused.
    pub(super) fn record_failure(&mut self, position: Position, error: &Error) {
        (self.position, self.kind) = (position, error.kind);
        self.reason = sanitize(error.chain().to_string());
        self.retry_after = error.retry_after;
        self.failures = self.failures.saturating_add(1);
        self.lanes.clear();
        self.settling = true;
    }

    /// Returns the time to wait before the next attempt.
    pub(super) fn delay(&self, backoff: &Backoff, clock: &Clock) -> Duration {
        let delay = backoff.delay(self.failures, clock);
        self.retry_after.map_or(delay, |least| least.min(MAX_RETRY_AFTER).max(delay))
    }

    /// Returns whether to log at `now` that the topic is held, at most once in [`LOG_INTERVAL`].
    pub(super) fn should_log(&mut self, now: Instant) -> bool {
        let due = self.logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if due {
            self.logged_at = Some(now);
        }
        due
    }
}
