//! Attempts that were pending at their first poll.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll},
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::{clock::Clock, handler::Limited};

/// An attempt that has ended.
pub(super) struct AttemptEnd<A: Limited> {
    pub(super) attempt: A,
    /// `None` if the time limit of the attempt has passed.
    pub(super) result: Option<A::Output>,
    pub(super) started: Instant,
    /// `None` if a task has returned it.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// An attempt that was pending at its first poll, and its time limit. The worker checks the limits of all attempts with
/// one timer.
pub(super) struct PendingAttempt<A> {
    attempt: Option<A>,
    permit: Option<OwnedSemaphorePermit>,
    started: Instant,
    /// `None` if the deadline would be out of the range of [`Instant`].
    deadline: Option<Instant>,
    limit: Duration,
    clock: Clock,
    is_called: bool,
    is_expired: bool,
}

impl<A: Limited> PendingAttempt<A> {
    pub(super) fn new(
        attempt: A,
        permit: OwnedSemaphorePermit,
        (started, now): (Instant, Instant),
        limit: Duration,
        clock: Clock,
    ) -> Self {
        let is_called = attempt.is_called();
        Self {
            attempt: Some(attempt),
            permit: Some(permit),
            started,
            deadline: now.checked_add(limit),
            limit,
            clock,
            is_called,
            is_expired: false,
        }
    }

    /// Returns when the time limit is to be checked, or `None` if it is not to be checked again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.is_expired, self.is_called) {
            (false, _) => self.deadline,
            // The last poll may find the service ready, and begins the call. Its time limit is checked then.
            (true, false) => self.clock.now().checked_add(self.limit),
            (true, true) => None,
        }
    }

    /// Ends the attempt at its next poll if its time limit has passed. Returns whether it passed since the last call.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let expires = !self.is_expired && self.deadline.is_some_and(|deadline| deadline <= now);
        self.is_expired |= expires;
        expires
    }

    /// Polls the attempt. Resolves once.
    pub(super) fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<AttemptEnd<A>> {
        let Some(attempt) = &mut self.attempt else { return Poll::Pending };
        // The attempt first: a result that is ready at the time limit is returned.
        let result = match Pin::new(&mut *attempt).poll(cx) {
            Poll::Ready(result) => Some(result),
            Poll::Pending if self.is_called && self.is_expired => None,
            Poll::Pending if attempt.is_called() && !self.is_called => {
                // The wait for readiness is over: the time limit of the call begins.
                (self.is_called, self.is_expired) = (true, false);
                self.deadline = self.clock.now().checked_add(self.limit);
                return Poll::Pending;
            }
            Poll::Pending if self.is_expired => None,
            Poll::Pending => return Poll::Pending,
        };
        let (Some(attempt), started) = (self.attempt.take(), self.started) else { return Poll::Pending };
        Poll::Ready(AttemptEnd { attempt, result, started, permit: self.permit.take() })
    }
}
