//! The decisions of one hedged call: when another attempt is sent, and which result ends the call.

use std::time::{Duration, Instant};

use super::{DenialReason, Hedge};
use crate::{
    ErrorKind, clock,
    context::{Context as CallContext, Deadline},
    resilience::Class,
};

/// The longest wait of a peer (pushback) after which a hedge is sent. Also the default of
/// [`RetryConfig::max_pushback`](crate::resilience::RetryConfig::max_pushback).
const MAX_PUSHBACK: Duration = Duration::from_secs(300);

/// The decisions of one call.
pub(super) struct CallState {
    hedge: Hedge,
    pub(super) stage: Stage,
    /// The wait before a hedge; `None`: there are too few samples.
    pub(super) delay: Option<Duration>,
    max_attempts: u32,
    pub(super) attempts: u32,
    deadline: Option<Deadline>,
    sample: Option<FirstAttempt>,
}

#[derive(PartialEq)]
pub(super) enum Stage {
    Start,
    Running,
    Done,
}

/// What follows a finished attempt.
pub(super) enum Next {
    /// The call ends with this result.
    End,
    /// Another attempt is sent at once.
    Hedge,
    /// Another attempt is sent after this wait.
    HedgeAfter(Duration),
    /// The call goes on with the attempts in flight.
    Wait,
}

/// The duration of the first attempt. If the attempt is dropped after the delay, because a hedge was faster or the
/// caller has gone, the time until then is its sample. Without it a percentile would count fast attempts only, and fall.
struct FirstAttempt {
    hedge: Hedge,
    started: Instant,
    delay: Option<Duration>,
}

impl FirstAttempt {
    fn succeeded(self) {
        let now = self.hedge.clock().now();
        self.hedge.record(now.saturating_duration_since(self.started), now);
        self.discard();
    }

    /// Drops the attempt without a sample.
    fn discard(mut self) {
        self.delay = None;
    }
}

impl Drop for FirstAttempt {
    fn drop(&mut self) {
        let now = self.hedge.clock().now();
        let elapsed = now.saturating_duration_since(self.started);
        if self.delay.is_some_and(|delay| elapsed >= delay) {
            self.hedge.record(elapsed, now);
        }
    }
}

impl CallState {
    pub(super) const fn new(hedge: Hedge) -> Self {
        let (delay, deadline, sample) = (None, None, None);
        Self { hedge, stage: Stage::Start, delay, max_attempts: 1, attempts: 0, deadline, sample }
    }

    /// Begins the call, with the settings and the deadline of this moment.
    pub(super) fn start(&mut self, idempotent: bool) {
        let now = self.hedge.clock().now();
        let plan = self.hedge.plan(now);
        self.stage = Stage::Running;
        self.delay = plan.delay;
        self.max_attempts = if idempotent { plan.max_attempts } else { 1 };
        self.deadline = CallContext::current().deadline;
        let (hedge, delay) = (self.hedge.clone(), plan.delay);
        self.sample = plan.is_measured.then(|| FirstAttempt { hedge, started: now, delay });
    }

    /// Ends the call. A first attempt that is still in flight has lost.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Done;
        self.sample = None;
    }

    pub(super) fn may_hedge(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// Sends no further attempt.
    pub(super) fn stop(&mut self) {
        self.max_attempts = self.attempts;
    }

    /// Returns the timer of the next attempt, unless it would fire after the deadline.
    pub(super) fn timer(&self, wait: Duration) -> Option<clock::Sleep> {
        let clock = self.hedge.clock();
        let in_time = match self.deadline {
            Some(deadline) => deadline.remaining(clock).is_some_and(|left| wait < left),
            None => true,
        };
        (self.may_hedge() && in_time).then(|| clock.sleep(wait))
    }

    /// Withdraws the token of another attempt. If there is none, no further attempt is sent.
    pub(super) fn pay(&mut self) -> bool {
        if !self.may_hedge() {
            return false;
        }
        let paid = self.hedge.withdraw();
        if !paid {
            self.stop();
        }
        paid
    }

    /// Decides what follows the result of an attempt.
    pub(super) fn after(&mut self, class: Class, is_first: bool) -> Next {
        match class {
            Class::Success => {
                if let Some(sample) = self.sample.take_if(|_| is_first) {
                    sample.succeeded();
                }
                self.hedge.succeeded(is_first);
                Next::End
            }
            Class::Failure { kind, retry_after } => {
                if let Some(sample) = self.sample.take_if(|_| is_first) {
                    sample.discard();
                }
                self.after_failure(kind, retry_after)
            }
        }
    }

    fn after_failure(&mut self, kind: ErrorKind, retry_after: Option<Duration>) -> Next {
        if !may_succeed_elsewhere(kind) {
            return Next::End;
        }
        match retry_after {
            _ if !self.may_hedge() => Next::Wait,
            Some(wait) if wait > MAX_PUSHBACK => {
                self.hedge.denied(DenialReason::Pushback);
                self.stop();
                Next::Wait
            }
            Some(wait) => Next::HedgeAfter(wait),
            None => Next::Hedge,
        }
    }
}

/// Returns whether another attempt may succeed after a failure of this kind. The other kinds are answers: they are the
/// result of the call.
const fn may_succeed_elsewhere(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate | ErrorKind::Rejected)
}
