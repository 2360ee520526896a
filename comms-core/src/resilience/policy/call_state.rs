//! The state of one call, in the order of the call: start, guards, attempt, end of the attempt, end of the call.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use super::version::PolicyVersion;
use crate::{
    ErrorKind,
    clock::Clock,
    context,
    resilience::{
        Class, Guard, Rejection, Retry,
        breaker::{AdmittedCall, CallOutcome},
        bulkhead::{QueueFull, Waiter},
        retry::{FailedAttempt, RetryDecision, decide},
    },
};

/// The state of one call: the policy version under which it started, its times, and the permits to release.
pub(super) struct CallState {
    policy: Arc<PolicyVersion>,
    /// The number of the current attempt, from 1.
    attempt: u32,
    /// When the call started. `None` if no time limit and no measurement needs it.
    started: Option<Instant>,
    attempt_started: Option<Instant>,
    attempt_ended: Option<Instant>,
    deadline: Option<Instant>,
    /// Whether `deadline` is that of the caller's context, because it is earlier than the policy's timeout.
    caller_deadline: bool,
    queue_deadline: Option<Instant>,
    admitted: Option<AdmittedCall>,
    waiter: Option<Waiter>,
    has_permit: bool,
}

impl CallState {
    pub(super) const fn new(policy: Arc<PolicyVersion>) -> Self {
        Self {
            policy,
            attempt: 0,
            started: None,
            attempt_started: None,
            attempt_ended: None,
            deadline: None,
            caller_deadline: false,
            queue_deadline: None,
            admitted: None,
            waiter: None,
            has_permit: false,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.policy.clock
    }

    /// Starts the call: computes its deadline and checks the rate limit. Reads the clock once, for all guards.
    #[inline]
    pub(super) fn start(&mut self) -> Result<(), Rejection> {
        let policy = &*self.policy;
        let caller = context::deadline().map(|deadline| deadline.instant());
        let has_limit =
            caller.is_some() || policy.config.timeout.is_some() || policy.config.attempt_timeout.is_some();
        if has_limit || policy.measures_duration() {
            let now = policy.clock.now();
            let own = policy.config.timeout.map(|timeout| now + timeout);
            self.deadline = caller.into_iter().chain(own).min();
            self.caller_deadline = self.deadline != own;
            (self.started, self.attempt_started) = (Some(now), Some(now));
            self.check_deadline()?;
        }
        #[cfg(feature = "rate-limit")]
        self.policy.rate_limit.as_ref().map_or(Ok(()), |limiter| limiter.check())?;
        Ok(())
    }

    /// Starts the time limit of an attempt after a wait.
    pub(super) fn restart_attempt(&mut self) -> Result<(), Rejection> {
        self.attempt_started = self.started.map(|_| self.policy.clock.now());
        self.check_deadline()
    }

    fn check_deadline(&self) -> Result<(), Rejection> {
        match self.deadline.zip(self.attempt_started) {
            Some((deadline, now)) if deadline <= now => Err(self.rejection(Guard::Deadline)),
            _ => Ok(()),
        }
    }

    /// Acquires the breaker and a permit of the bulkhead for the next attempt. `false`: the call waits for the permit.
    #[inline]
    pub(super) fn acquire(&mut self, cx: &TaskContext<'_>) -> Result<bool, Rejection> {
        self.attempt += 1;
        self.acquire_breaker()?;
        let Some(bulkhead) = &self.policy.bulkhead else { return Ok(true) };
        self.has_permit = bulkhead.semaphore().try_acquire();
        if self.has_permit {
            return Ok(true);
        }
        let max_wait = bulkhead.max_wait();
        if max_wait.is_zero() {
            return Err(bulkhead.rejection());
        }
        match bulkhead.semaphore().enqueue(cx) {
            Ok(waiter) => {
                self.has_permit = waiter.is_none();
                self.waiter = waiter;
                if !self.has_permit {
                    // Release the half-open probe while this call is queued, so that another call can use it.
                    self.record_to_breaker(CallOutcome::Ignored, None);
                }
                let until = self.policy.clock.now().checked_add(max_wait);
                self.queue_deadline = until.into_iter().chain(self.deadline).min();
                Ok(self.has_permit)
            }
            Err(QueueFull) => Err(bulkhead.rejection()),
        }
    }

    #[inline]
    fn acquire_breaker(&mut self) -> Result<(), Rejection> {
        if let Some(breaker) = &self.policy.breaker {
            self.admitted = Some(breaker.admit(self.attempt_started)?);
        }
        Ok(())
    }

    /// Resolves when the queued call holds a permit.
    pub(super) fn poll_permit(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        let (Some(bulkhead), Some(waiter)) = (&self.policy.bulkhead, &self.waiter) else {
            return Poll::Ready(());
        };
        let poll = bulkhead.semaphore().poll(waiter, cx);
        if poll.is_ready() {
            self.has_permit = true;
            self.waiter = None;
        }
        poll
    }

    /// Checks deadline and breaker again after the wait for a permit: the breaker may have opened in the meantime.
    pub(super) fn reacquire_breaker(&mut self) -> Result<(), Rejection> {
        self.restart_attempt()?;
        self.acquire_breaker()
    }

    /// Returns when the wait for a permit ends.
    pub(super) const fn queue_deadline(&self) -> Option<Instant> {
        self.queue_deadline
    }

    /// Returns the rejection of a call that waited for a permit until [`queue_deadline`](Self::queue_deadline).
    pub(super) fn queue_timeout(&self) -> Rejection {
        let bulkhead = self.policy.bulkhead.as_ref().map(|bulkhead| bulkhead.rejection());
        match bulkhead {
            Some(rejection) if self.queue_deadline != self.deadline => rejection,
            _ => self.rejection(Guard::Deadline),
        }
    }

    /// Returns when the current attempt must end. Calls within the attempt see it as their deadline.
    #[inline]
    pub(super) fn attempt_deadline(&self) -> Option<Instant> {
        let own = self.attempt_started.zip(self.policy.config.attempt_timeout);
        let own = own.and_then(|(started, timeout)| started.checked_add(timeout));
        own.into_iter().chain(self.deadline).min()
    }

    /// Returns the rejection of an attempt whose service was not ready until the attempt's deadline.
    pub(super) fn unready(&self) -> Rejection {
        let by_caller = self.caller_deadline && self.attempt_deadline() == self.deadline;
        self.rejection(if by_caller { Guard::Deadline } else { Guard::Unready })
    }

    pub(super) fn rejection(&self, guard: Guard) -> Rejection {
        Rejection::new(self.policy.name, guard, None)
    }

    /// Returns whether another attempt may follow the current one.
    pub(super) fn may_retry(&self) -> bool {
        self.policy.config.retry.as_ref().is_some_and(|retry| self.attempt < retry.max_attempts)
    }

    /// Ends the attempt: records its result to breaker and budget, releases the permit, and returns the wait before the
    /// next attempt, or `None` if the call ends.
    ///
    /// `retry` is when the failure is retried, and `idempotent` is the classification of the request, or `None` if the request was consumed and cannot be retried.
    #[inline]
    pub(super) fn end_attempt(
        &mut self,
        class: Class,
        guard: Option<Guard>,
        retry: Retry,
        idempotent: Option<bool>,
    ) -> Option<Duration> {
        self.attempt_ended = self.policy.measures_duration().then(|| self.policy.clock.now());
        let Class::Failure { kind, retry_after } = class else {
            self.release(CallOutcome::Success, self.attempt_ended);
            self.policy.budget.iter().for_each(|budget| budget.deposit());
            return None;
        };
        // A deadline of the caller that passed during the attempt is no evidence about the peer, whether this policy or
        // a layer below it reported the timeout.
        let caller_timed_out = kind == ErrorKind::Indeterminate
            && self.caller_deadline
            && self.attempt_deadline() == self.deadline
            && self.deadline.is_some_and(|deadline| {
                deadline <= self.attempt_ended.unwrap_or_else(|| self.policy.clock.now())
            });
        let peer_failed = kind.is_peer_failure() && !caller_timed_out;
        let outcome = if peer_failed { CallOutcome::Failure } else { CallOutcome::Ignored };
        self.release(outcome, self.attempt_ended);
        let delay = match guard {
            // A guard of this policy refused the attempt and would refuse the next one: fail fast.
            Some(guard) if !guard.ended_attempt() => None,
            _ => idempotent.and_then(|idempotent| self.retry_delay(retry, retry_after, idempotent)),
        };
        if let Some(meter) = &self.policy.meter {
            guard.into_iter().for_each(|guard| meter.count_rejection(guard));
            delay.into_iter().for_each(|_| meter.count_retry());
        }
        delay
    }

    fn retry_delay(&self, retry: Retry, retry_after: Option<Duration>, idempotent: bool) -> Option<Duration> {
        let policy = &*self.policy;
        let config = policy.config.retry.as_ref()?;
        let now = self.attempt_ended.unwrap_or_else(|| policy.clock.now());
        let (attempt, deadline) = (self.attempt, self.deadline);
        let failed = FailedAttempt { attempt, retry, retry_after, idempotent, now, deadline };
        match decide(config, policy.budget.as_ref(), &failed, &policy.clock) {
            RetryDecision::RetryAfter(delay) => Some(delay),
            RetryDecision::NotRetryable => None,
            RetryDecision::Denied(reason) => {
                policy.meter.iter().for_each(|meter| meter.count_denial(reason));
                None
            }
        }
    }

    /// Records the metrics of the finished call.
    #[inline]
    pub(super) fn record_call(&self, class: Class) {
        let failure = match class {
            Class::Success => None,
            Class::Failure { kind, .. } => Some(kind),
        };
        if let (Some(meter), Some(ended), Some(started)) =
            (&self.policy.meter, self.attempt_ended, self.started)
        {
            meter.record_call(failure, ended.saturating_duration_since(started));
        }
    }

    /// Records the outcome to the breaker, and releases the permit or the place in the queue.
    #[inline]
    fn release(&mut self, outcome: CallOutcome, now: Option<Instant>) {
        self.record_to_breaker(outcome, now);
        if let Some(bulkhead) = &self.policy.bulkhead {
            if let Some(waiter) = self.waiter.take() {
                bulkhead.semaphore().cancel(&waiter);
            }
            if std::mem::take(&mut self.has_permit) {
                bulkhead.semaphore().release();
            }
        }
    }

    #[inline]
    fn record_to_breaker(&mut self, outcome: CallOutcome, now: Option<Instant>) {
        if let Some((breaker, call)) = self.policy.breaker.as_ref().zip(self.admitted.take()) {
            let elapsed =
                || now.zip(self.attempt_started).map(|(end, start)| end.saturating_duration_since(start));
            let slow = breaker.is_slow(|| elapsed().unwrap_or_default());
            breaker.record(call, outcome, slow, now);
        }
    }
}

/// A call that is dropped before its end is no evidence about the peer.
impl Drop for CallState {
    fn drop(&mut self) {
        self.release(CallOutcome::Ignored, None);
    }
}
