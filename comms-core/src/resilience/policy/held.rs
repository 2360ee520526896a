//! What a call has of its policy: the version it began with, its times, and what it must give back.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use super::parts::Parts;
use crate::{
    ErrorKind,
    clock::Clock,
    context,
    resilience::{
        Class, Guard, Rejection,
        breaker::{Pass, Weight},
        bulkhead::{Full, Ticket},
        retry::{Decision, Failed, decide},
    },
};

pub(super) struct Held {
    parts: Arc<Parts>,
    /// The attempt that is made, from 1.
    attempt: u32,
    /// When the call began. Read only where something needs it: a limit, a measurement.
    began: Option<Instant>,
    attempt_began: Option<Instant>,
    ended: Option<Instant>,
    deadline: Option<Instant>,
    /// The deadline is the caller's, and earlier than the policy's own.
    asked: bool,
    queue_until: Option<Instant>,
    pass: Option<Pass>,
    ticket: Option<Ticket>,
    seated: bool,
}

impl Held {
    pub(super) const fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            attempt: 0,
            began: None,
            attempt_began: None,
            ended: None,
            deadline: None,
            asked: false,
            queue_until: None,
            pass: None,
            ticket: None,
            seated: false,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    pub(super) fn rejection(&self, guard: Guard) -> Rejection {
        Rejection::new(self.parts.name, guard, None)
    }

    /// The one reading of the clock at the start, shared by all guards.
    #[inline]
    pub(super) fn begin(&mut self) -> Result<(), Rejection> {
        let parts = &*self.parts;
        let asked = context::deadline().map(|deadline| deadline.instant());
        let limited =
            asked.is_some() || parts.config.timeout.is_some() || parts.config.attempt_timeout.is_some();
        if limited || parts.reads_time() {
            let now = parts.clock.now();
            let own = parts.config.timeout.map(|timeout| now + timeout);
            self.deadline = asked.into_iter().chain(own).min();
            self.asked = self.deadline != own;
            (self.began, self.attempt_began) = (Some(now), Some(now));
            self.in_time()?;
        }
        #[cfg(feature = "rate-limit")]
        self.parts.rate_limit.as_ref().map_or(Ok(()), |limiter| limiter.check())?;
        Ok(())
    }

    /// After a wait: the attempt's own time begins now, if there is any left.
    pub(super) fn begin_again(&mut self) -> Result<(), Rejection> {
        self.attempt_began = self.began.map(|_| self.parts.clock.now());
        self.in_time()
    }

    fn in_time(&self) -> Result<(), Rejection> {
        match self.deadline.zip(self.attempt_began) {
            Some((deadline, now)) if deadline <= now => Err(self.rejection(Guard::Deadline)),
            _ => Ok(()),
        }
    }

    /// Asks breaker and bulkhead. `false`: a seat must be waited for.
    #[inline]
    pub(super) fn admit(&mut self, cx: &TaskContext<'_>) -> Result<bool, Rejection> {
        self.attempt += 1;
        self.ask_breaker()?;
        let Some(bulkhead) = &self.parts.bulkhead else { return Ok(true) };
        self.seated = bulkhead.seats().try_take();
        if self.seated {
            return Ok(true);
        }
        let wait = bulkhead.max_wait();
        if wait.is_zero() {
            return Err(bulkhead.rejection());
        }
        match bulkhead.seats().queue_up(cx) {
            Ok(ticket) => {
                self.seated = ticket.is_none();
                self.ticket = ticket;
                if !self.seated {
                    // Who waits takes no probe from who could go.
                    self.tell_breaker(Weight::Neutral, None);
                }
                let until = self.parts.clock.now().checked_add(wait);
                self.queue_until = until.into_iter().chain(self.deadline).min();
                Ok(self.seated)
            }
            Err(Full) => Err(bulkhead.rejection()),
        }
    }

    #[inline]
    fn ask_breaker(&mut self) -> Result<(), Rejection> {
        if let Some(breaker) = &self.parts.breaker {
            self.pass = Some(breaker.admit(self.attempt_began)?);
        }
        Ok(())
    }

    /// Seated after a wait, in which the breaker may have opened.
    pub(super) fn admit_again(&mut self) -> Result<(), Rejection> {
        self.begin_again()?;
        self.ask_breaker()
    }

    pub(super) fn poll_seat(&mut self, cx: &TaskContext<'_>) -> Poll<()> {
        let (Some(bulkhead), Some(ticket)) = (&self.parts.bulkhead, &self.ticket) else {
            return Poll::Ready(());
        };
        let poll = bulkhead.seats().poll(ticket, cx);
        if poll.is_ready() {
            self.seated = true;
            self.ticket = None;
        }
        poll
    }

    pub(super) const fn queue_until(&self) -> Option<Instant> {
        self.queue_until
    }

    /// Waited as long as it may: for a seat, or for as long as the deadline let it.
    pub(super) fn no_seat(&self) -> Rejection {
        let bulkhead = self.parts.bulkhead.as_ref().map(|bulkhead| bulkhead.rejection());
        match bulkhead {
            Some(rejection) if self.queue_until != self.deadline => rejection,
            _ => self.rejection(Guard::Deadline),
        }
    }

    /// The service did not get ready as long as it could be waited for.
    pub(super) fn not_ready(&self) -> Rejection {
        let asked = self.asked && self.limit() == self.deadline;
        self.rejection(if asked { Guard::Deadline } else { Guard::Unready })
    }

    /// When this attempt must have ended. What it calls in turn sees it as its deadline.
    #[inline]
    pub(super) fn limit(&self) -> Option<Instant> {
        let own = self.attempt_began.zip(self.parts.config.attempt_timeout);
        let own = own.and_then(|(began, timeout)| began.checked_add(timeout));
        own.into_iter().chain(self.deadline).min()
    }

    pub(super) fn may_retry(&self) -> bool {
        self.parts.config.retry.as_ref().is_some_and(|retry| self.attempt < retry.max_attempts)
    }

    /// Takes the end of an attempt: breaker, bulkhead and budget learn of it. The wait before another attempt, or
    /// `None` where the call has ended. `idempotent` is what the request says of itself, while it is there.
    #[inline]
    pub(super) fn settle(
        &mut self,
        class: Class,
        guard: Option<Guard>,
        idempotent: Option<bool>,
    ) -> Option<Duration> {
        self.ended = self.parts.reads_time().then(|| self.parts.clock.now());
        let Class::Failure { kind, retry_after } = class else {
            self.release(Weight::Success, self.ended);
            self.parts.budget.iter().for_each(|budget| budget.deposit());
            return None;
        };
        // A caller in a hurry says nothing about the peer, whoever saw first that the time was over.
        let hurried = kind == ErrorKind::Indeterminate
            && self.asked
            && self.limit() == self.deadline
            && self
                .deadline
                .is_some_and(|deadline| deadline <= self.ended.unwrap_or_else(|| self.parts.clock.now()));
        let blamed = kind.is_peer_failure() && !hurried;
        self.release(if blamed { Weight::Failure } else { Weight::Neutral }, self.ended);
        let delay = match guard {
            // What a guard here refuses it would refuse again: failing fast is its purpose.
            Some(guard) if !guard.ended_attempt() => None,
            _ => idempotent.and_then(|idempotent| self.retry(kind, retry_after, idempotent)),
        };
        if let Some(meter) = &self.parts.meter {
            guard.into_iter().for_each(|guard| meter.rejected(guard));
            delay.into_iter().for_each(|_| meter.retry());
        }
        delay
    }

    fn retry(&self, kind: ErrorKind, retry_after: Option<Duration>, idempotent: bool) -> Option<Duration> {
        let parts = &*self.parts;
        let retry = parts.config.retry.as_ref()?;
        let now = self.ended.unwrap_or_else(|| parts.clock.now());
        let (attempt, deadline) = (self.attempt, self.deadline);
        let failed = Failed { attempt, kind, retry_after, idempotent, now, deadline };
        match decide(retry, parts.budget.as_ref(), &failed, &parts.clock) {
            Decision::Again(delay) => Some(delay),
            Decision::Final => None,
            Decision::Denied(denied) => {
                parts.meter.iter().for_each(|meter| meter.denied(denied));
                None
            }
        }
    }

    /// The call has ended.
    #[inline]
    pub(super) fn measure(&self, class: Class) {
        let failure = match class {
            Class::Success => None,
            Class::Failure { kind, .. } => Some(kind),
        };
        if let (Some(meter), Some(ended), Some(began)) = (&self.parts.meter, self.ended, self.began) {
            meter.call(failure, ended.saturating_duration_since(began));
        }
    }

    /// Gives back the seat and the place in the queue, and tells the breaker how it went.
    #[inline]
    fn release(&mut self, weight: Weight, now: Option<Instant>) {
        self.tell_breaker(weight, now);
        if let Some(bulkhead) = &self.parts.bulkhead {
            if let Some(ticket) = self.ticket.take() {
                bulkhead.seats().give_up(&ticket);
            }
            if std::mem::take(&mut self.seated) {
                bulkhead.seats().leave();
            }
        }
    }

    #[inline]
    fn tell_breaker(&mut self, weight: Weight, now: Option<Instant>) {
        if let Some((breaker, pass)) = self.parts.breaker.as_ref().zip(self.pass.take()) {
            let took =
                || now.zip(self.attempt_began).map(|(end, start)| end.saturating_duration_since(start));
            let slow = breaker.is_slow(|| took().unwrap_or_default());
            breaker.record(pass, weight, slow, now);
        }
    }
}

/// Dropped before its end: that says nothing about the peer.
impl Drop for Held {
    fn drop(&mut self) {
        self.release(Weight::Neutral, None);
    }
}
