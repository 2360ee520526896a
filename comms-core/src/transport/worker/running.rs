//! The work on single deliveries: attempts, tasks of attempts, and the deliveries that failed once.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll},
};

use futures_util::future::BoxFuture;

use super::{
    keys::Place,
    pending::{AttemptEnd, PendingAttempt},
    settlement::Settlement,
    task::Task,
};
use crate::{panic::caught, transport::Attempt};

/// The work on one delivery.
pub(super) struct Running {
    pub(super) place: Place,
    pub(super) work: Work,
}

pub(super) enum Work {
    Attempt(PendingAttempt<Attempt>),
    Task(Task<Attempt>),
    Slow(Slow),
}

/// Work that has ended.
pub(super) struct Ended {
    pub(super) place: Place,
    pub(super) end: End,
}

pub(super) enum End {
    Attempt(AttemptEnd<Attempt>),
    Settled(Settlement),
}

impl Future for Running {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Ended> {
        let polled = match &mut self.work {
            Work::Attempt(pending) => pending.poll(cx).map(End::Attempt),
            Work::Task(task) => {
                task.poll(cx).map(|end| end.map_or(End::Settled(Settlement::Abandoned), End::Attempt))
            }
            Work::Slow(slow) => slow.poll(cx).map(End::Settled),
        };
        polled.map(|end| Ended { place: self.place, end })
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
