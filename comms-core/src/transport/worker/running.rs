//! The work that a worker polls: attempts, tasks of attempts, and the deliveries that failed once.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll, Waker},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{keys::Place, settlement::Settlement};
use crate::{Error, Outcome, clock::Clock, panic::caught, transport::Attempt};

/// The work on one delivery.
pub(super) struct Running {
    pub(super) place: Place,
    pub(super) work: Work,
}

pub(super) enum Work {
    Attempt(PendingAttempt),
    Task(Task),
    Slow(Slow),
}

/// Work that has ended.
pub(super) struct Ended {
    pub(super) place: Place,
    pub(super) end: End,
}

pub(super) enum End {
    Attempt { attempt: Attempt, result: AttemptEnd, started: Instant },
    Settled(Settlement),
}

pub(super) enum AttemptEnd {
    Result(Result<Outcome, Error>),
    /// The time limit of the attempt has passed.
    Expired,
}

impl Future for Running {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Ended> {
        let polled = match &mut self.work {
            Work::Attempt(pending) => pending.poll(cx),
            Work::Task(task) => task.poll(cx),
            Work::Slow(slow) => slow.poll(cx).map(End::Settled),
        };
        polled.map(|end| Ended { place: self.place, end })
    }
}

/// An attempt that was pending at its first poll, and its time limit. The worker checks the limits of all attempts with
/// one timer.
pub(super) struct PendingAttempt {
    attempt: Option<Attempt>,
    permit: Option<OwnedSemaphorePermit>,
    started: Instant,
    /// `None` if the deadline would be out of the range of [`Instant`].
    deadline: Option<Instant>,
    limit: Duration,
    clock: Clock,
    is_called: bool,
    is_expired: bool,
    waker: Option<Waker>,
}

impl PendingAttempt {
    pub(super) fn new(
        attempt: Attempt,
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
            waker: None,
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        if self.is_expired { None } else { self.deadline }
    }

    /// Ends the attempt at its next poll if its time limit has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.is_expired = true;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<End> {
        let Some(attempt) = &mut self.attempt else { return Poll::Pending };
        // The attempt first: a result that is ready at the time limit is returned.
        let result = match Pin::new(&mut *attempt).poll(cx) {
            Poll::Ready(result) => AttemptEnd::Result(result),
            Poll::Pending if self.is_called && self.is_expired => AttemptEnd::Expired,
            Poll::Pending if attempt.is_called() && !self.is_called => {
                // The wait for readiness is over: the time limit of the call begins.
                (self.is_called, self.is_expired) = (true, false);
                self.deadline = self.clock.now().checked_add(self.limit);
                return self.pending(cx);
            }
            Poll::Pending if self.is_expired => AttemptEnd::Expired,
            Poll::Pending => return self.pending(cx),
        };
        let (Some(attempt), started) = (self.attempt.take(), self.started) else { return Poll::Pending };
        self.permit = None;
        Poll::Ready(End::Attempt { attempt, result, started })
    }

    fn pending(&mut self, cx: &Cx<'_>) -> Poll<End> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// An attempt in a task of its own. Dropping it cancels the task at its next await.
pub(super) struct Task {
    pub(super) handle: JoinHandle<(Attempt, Result<Outcome, Error>)>,
    pub(super) started: Instant,
}

impl Task {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<End> {
        let started = self.started;
        Pin::new(&mut self.handle).poll(cx).map(|joined| match joined {
            Ok((attempt, result)) => End::Attempt { attempt, result: AttemptEnd::Result(result), started },
            // The runtime shuts down.
            Err(_) => End::Settled(Settlement::Abandoned),
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The work on a delivery after its first failure. A panic in it, and in its drop, is caught.
pub(super) struct Slow(Option<BoxFuture<'static, Settlement>>);

impl Slow {
    pub(super) fn new(work: impl Future<Output = Settlement> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<Settlement> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        match caught("the work on a failed delivery", || work.as_mut().poll(cx)) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(Settlement::Stopped(panic)),
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let work = self.0.take();
        if let Err(panic) = caught("the drop of a cancelled delivery", || drop(work)) {
            tracing::warn!(error = %panic.chain(), "a cancelled delivery did not end well");
        }
    }
}
