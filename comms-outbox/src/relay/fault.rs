//! Why a destination is held, and when it is tried again.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, clock::Clock, resilience::Backoff};

use super::{
    flights::Aged,
    store::{Lane, Position},
};
use crate::parked::cut;

/// How often a destination that stays held is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// The longest wait that a publisher may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A refusal of a whole destination: its topic is missing, this process may not write to it, its broker is away.
#[derive(Debug)]
pub(super) struct Fault {
    /// The position before the first refused row, where delivery goes on.
    pub(super) at: Position,
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
    pub(super) since: Instant,
    pub(super) aged: Option<Aged>,
    /// Keys with a refused row: their later rows are delivered again, or they would be left in the wrong order.
    pub(super) lanes: HashSet<Lane>,
    failures: u32,
    retry_after: Option<Duration>,
    logged: Option<Instant>,
    /// The rows under way are not settled yet.
    pub(super) settling: bool,
}

impl Fault {
    pub(super) fn new(at: Position, error: &Error, aged: Option<Aged>, clock: &Clock) -> Self {
        let mut fault = Self {
            at: at.clone(),
            kind: error.kind,
            reason: String::new(),
            since: clock.now(),
            aged,
            lanes: HashSet::new(),
            failures: 0,
            retry_after: None,
            logged: None,
            settling: true,
        };
        fault.again(at, error);
        fault
    }

    /// As an earlier session stored it. The destination is tried again at once.
    pub(super) fn stored(at: Position, kind: ErrorKind, reason: String, clock: &Clock) -> Self {
        Self { reason, settling: false, ..Self::new(at, &Error::new(kind, ""), None, clock) }
    }

    /// The destination was tried again, and refused again.
    pub(super) fn again(&mut self, at: Position, error: &Error) {
        (self.at, self.kind) = (at, error.kind);
        self.reason = cut(error.chain().to_string());
        self.retry_after = error.retry_after;
        self.failures = self.failures.saturating_add(1);
        self.lanes.clear();
        self.settling = true;
    }

    /// How long to wait before the next attempt.
    pub(super) fn delay(&self, backoff: &Backoff, clock: &Clock) -> Duration {
        let delay = backoff.delay(self.failures, clock);
        self.retry_after.map_or(delay, |least| least.min(LONGEST_WAIT).max(delay))
    }

    /// Whether it is time to log that the destination is still held.
    pub(super) fn logs(&mut self, now: Instant) -> bool {
        let due = self.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        if due {
            self.logged = Some(now);
        }
        due
    }
}
