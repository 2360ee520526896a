//! The decisions of one hedged call: when another attempt is sent, and which result ends the call.

use std::time::{Duration, Instant};

use super::{DenialReason, Hedge};
use crate::{
    ErrorKind, clock, context,
    resilience::{Class, Retry, retry::ends_before},
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
    attempts: u32,
    deadline: Option<Instant>,
    /// Before this time a peer accepts no further attempt (pushback).
    not_before: Option<Instant>,
    /// Whether another attempt is due because of a failure, and not only because of the time that the attempts take.
    owes_attempt: bool,
    sample: Option<FirstAttempt>,
}

#[derive(PartialEq)]
pub(super) enum Stage {
    Start,
    Running,
    Done,
}

/// What the failure of an attempt means for the call.
pub(super) enum Failed {
    /// A guard of this process refused the attempt.
    Refused,
    /// The failure is the result of the call.
    Conclusive,
    /// The failure concerns its attempt alone. Another one is sent as for a retry.
    Inconclusive(Retry),
}

/// What follows a finished attempt.
pub(super) enum Next {
    /// The call ends with this result.
    End,
    /// Another attempt is sent at once.
    Hedge,
    /// Another attempt is sent after this wait.
    HedgeAfter(Duration),
    /// The call goes on with the attempts in flight, and ends if there are none.
    Wait,
}

/// The duration of the first attempt. If the attempt has no answer after the delay, because a hedge was faster, the caller
/// has gone or the answer was lost, the time until then is its sample. Without it a percentile would count fast attempts
/// only, and fall.
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
        Self {
            hedge,
            stage: Stage::Start,
            delay: None,
            max_attempts: 1,
            attempts: 0,
            deadline: None,
            not_before: None,
            owes_attempt: false,
            sample: None,
        }
    }

    /// Begins the call, with the settings and the deadline of this moment.
    pub(super) fn start(&mut self, idempotent: bool) {
        let now = self.hedge.clock().now();
        let plan = self.hedge.plan(now);
        self.stage = Stage::Running;
        self.delay = plan.delay;
        self.max_attempts = if idempotent { plan.max_attempts } else { 1 };
        self.deadline = context::deadline().map(|deadline| deadline.instant());
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

    /// Returns whether another attempt may follow when its time comes: while attempts are in flight, or because of a
    /// failure.
    pub(super) fn keeps_timer(&self, in_flight: bool) -> bool {
        self.may_hedge() && (in_flight || self.owes_attempt)
    }

    /// Counts an attempt that is sent.
    pub(super) fn count_attempt(&mut self) {
        self.attempts += 1;
        self.owes_attempt = false;
    }

    pub(super) fn is_first_attempt(&self) -> bool {
        self.attempts == 1
    }

    /// Sends no further attempt.
    pub(super) fn stop(&mut self) {
        self.max_attempts = self.attempts;
    }

    /// Returns the timer of the next attempt, unless it would fire after the deadline.
    pub(super) fn timer(&self, wait: Duration) -> Option<clock::Sleep> {
        let clock = self.hedge.clock();
        let in_time = self.deadline.is_none_or(|deadline| ends_before(wait, clock.now(), deadline));
        (self.may_hedge() && in_time).then(|| clock.sleep(wait))
    }

    /// Returns the time that remains of the longest pushback.
    pub(super) fn pushback(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(self.hedge.clock().now());
        (!left.is_zero()).then_some(left)
    }

    /// Withdraws the token of another attempt. If there is none, or the deadline has passed, no further attempt is sent.
    pub(super) fn pay(&mut self) -> bool {
        if self.deadline.is_some_and(|deadline| deadline <= self.hedge.clock().now()) {
            self.stop();
        }
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
    pub(super) fn after(&mut self, class: Class, is_first: bool, failed: Failed) -> Next {
        match class {
            Class::Success => {
                if let Some(sample) = self.sample.take_if(|_| is_first) {
                    sample.succeeded();
                }
                self.hedge.succeeded(is_first);
                Next::End
            }
            Class::Failure { kind, retry_after } => {
                match self.sample.take_if(|_| is_first) {
                    // The time until the answer was lost is recorded on drop.
                    Some(sample) if kind == ErrorKind::Indeterminate => drop(sample),
                    Some(sample) => sample.discard(),
                    None => {}
                }
                match failed {
                    Failed::Refused => {
                        if !is_first {
                            self.hedge.refused_locally();
                        }
                        Next::Wait
                    }
                    Failed::Conclusive => Next::End,
                    Failed::Inconclusive(retry) => self.after_failure(retry, retry_after),
                }
            }
        }
    }

    fn after_failure(&mut self, retry: Retry, retry_after: Option<Duration>) -> Next {
        if !self.may_hedge() {
            return Next::Wait;
        }
        if retry_after.is_some_and(|wait| wait > MAX_PUSHBACK) {
            self.hedge.denied(DenialReason::Pushback);
            self.stop();
            return Next::Wait;
        }
        let not_before = retry_after.and_then(|wait| self.hedge.clock().now().checked_add(wait));
        self.not_before = self.not_before.max(not_before);
        let sends_another = match retry {
            Retry::Yes | Retry::IfRepeatable => true,
            // The peer is overloaded: send another attempt only after a wait that it requested.
            Retry::AfterWait => retry_after.is_some(),
            Retry::IfReadAnew | Retry::No => false,
        };
        if !sends_another {
            return Next::Wait;
        }
        self.owes_attempt = true;
        match self.pushback() {
            Some(wait) => Next::HedgeAfter(wait),
            None => Next::Hedge,
        }
    }
}
