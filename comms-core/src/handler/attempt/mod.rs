//! One call of a handler with a delivery, in one allocation.

mod cell;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll},
};

use tracing::Span;

use super::{Handler, Outcome};
use crate::{Delivery, Error, context::Source};
pub(super) use cell::{Cell, Input, Running};

/// One call of a handler with a delivery: the wait until the handler is ready, the call, and its future.
///
/// The attempt runs in the context of the message and in the span `process`. It starts no timer: the owner limits its
/// time and drops it.
///
/// A panic of the handler at any moment is an [`Internal`](crate::ErrorKind::Internal) error of the attempt: in `clone`,
/// `poll_ready`, `call` or a poll, and in the drop of its future, also after a success. Dropping an unfinished attempt
/// does not panic.
pub struct Attempt(Pin<Box<dyn RunningOne>>);

impl Attempt {
    #[inline]
    pub(super) fn new<S: Handler>(
        handler: &S,
        received: Delivery,
        opened: Opened,
        source: Source,
        span: Span,
    ) -> Self {
        Self(Box::pin(Cell::new(handler, One { received, opened }, source, span)))
    }

    /// Returns the delivery as it was received: an envelope is not decoded.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        self.0.received()
    }

    /// Returns whether the handler was ready and has been called.
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.0.is_called()
    }
}

impl Future for Attempt {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll_end(cx)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("called", &self.is_called()).finish_non_exhaustive()
    }
}

/// An attempt whose owner limits its time: that of the wait for readiness, and that of the call.
pub(crate) trait Limited: Future + Unpin + Send {
    /// Returns whether the handler was ready and has been called.
    fn is_called(&self) -> bool;
}

impl Limited for Attempt {
    fn is_called(&self) -> bool {
        self.0.is_called()
    }
}

/// An attempt of a handler of any type.
trait RunningOne: Running<Outcome> {
    fn received(&self) -> &Delivery;
}

impl<S, F> RunningOne for Cell<S, F, One>
where
    Self: Running<Outcome>,
{
    fn received(&self) -> &Delivery {
        &self.input().received
    }
}

/// The delivery for the handler if it is not the received one, or the error of decoding it.
pub(super) type Opened = Option<Box<Result<Delivery, Error>>>;

struct One {
    received: Delivery,
    opened: Opened,
}

impl Input for One {
    type Request = Delivery;

    fn fail(&mut self, error: Error) {
        self.opened = Some(Box::new(Err(error)));
    }

    #[inline]
    fn failed(&mut self) -> Option<Error> {
        self.opened.take_if(|opened| opened.is_err()).and_then(|failed| failed.err())
    }

    #[inline]
    fn request(&mut self) -> Result<Delivery, Error> {
        match self.opened.take() {
            Some(opened) => *opened,
            None => Ok(self.received.clone()),
        }
    }
}
