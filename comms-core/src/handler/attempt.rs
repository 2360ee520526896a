//! One call of a handler with a delivery, in one allocation.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use tower_service::Service;
use tracing::Span;

use super::{Handler, Outcome};
use crate::{Delivery, Error, context::Source, panic::caught};

/// One call of a handler with a delivery: the wait until the handler is ready, the call, and its future.
///
/// The attempt runs in the context of the message and in the span `process`. It starts no timer: the owner limits its
/// time and drops it.
///
/// A panic of the handler at any moment is an [`Internal`](crate::ErrorKind::Internal) error of the attempt: in `clone`,
/// `poll_ready`, `call` or a poll, and in the drop of its future, also after a success. Dropping an unfinished attempt
/// does not panic.
pub struct Attempt(Pin<Box<dyn Running>>);

impl Attempt {
    #[inline]
    pub(super) fn new<S: Handler>(
        handler: &S,
        received: Delivery,
        mut opened: Opened,
        source: Source,
        span: Span,
    ) -> Self {
        let service = match caught(HANDLER, || handler.clone()) {
            Ok(service) => Some(service),
            Err(panic) => {
                opened = Some(Box::new(Err(panic)));
                None
            }
        };
        Self(Box::pin(Cell { received, opened, source, span, service, state: State::Waiting }))
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

const HANDLER: &str = "the handler";

/// The delivery for the handler if it is not the received one, or the error of decoding it.
pub(super) type Opened = Option<Box<Result<Delivery, Error>>>;

/// An attempt of a handler of any type.
trait Running: Send {
    fn poll_end(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Result<Outcome, Error>>;
    fn is_called(&self) -> bool;
    fn received(&self) -> &Delivery;
}

pin_project! {
    struct Cell<S: Service<Delivery>> {
        received: Delivery,
        opened: Opened,
        source: Source,
        span: Span,
        // Kept until the end of the call: readiness may be bound to this clone.
        service: Option<S>,
        #[pin]
        state: State<S::Future>,
    }

    impl<S: Service<Delivery>> PinnedDrop for Cell<S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.service.is_none() && matches!(*this.state, State::Over | State::Waiting) {
                return;
            }
            let (span, service, state) = (this.span, this.service, &mut this.state);
            if let Err(error) = this.source.enter(|| release(span, service, state)) {
                tracing::warn!(error = %error.chain(), "the drop of a cancelled attempt panicked");
            }
        }
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // The handler is not ready, or was not asked.
        Waiting,
        Called { #[pin] future: F },
        Over,
    }
}

impl<S: Handler> Running for Cell<S> {
    fn poll_end(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Result<Outcome, Error>> {
        let mut this = self.project();
        let (span, service, state) = (this.span, this.service, &mut this.state);
        let deliveries = (&*this.received, this.opened);
        this.source.enter(|| {
            let entered = span.enter();
            let polled = caught(HANDLER, || {
                let polled = step(service, deliveries, state.as_mut(), cx);
                if polled.is_ready() {
                    state.set(State::Over);
                    *service = None;
                }
                polled
            });
            drop(entered);
            match polled {
                Ok(polled) => polled,
                Err(error) => {
                    // The panic has left the future in place, if it was not its drop that panicked.
                    let _ = release(span, service, state);
                    Poll::Ready(Err(error))
                }
            }
        })
    }

    fn is_called(&self) -> bool {
        matches!(self.state, State::Called { .. } | State::Over)
    }

    fn received(&self) -> &Delivery {
        &self.received
    }
}

/// Takes the attempt as far as it goes.
fn step<S: Handler>(
    service: &mut Option<S>,
    (received, opened): (&Delivery, &mut Opened),
    mut state: Pin<&mut State<S::Future>>,
    cx: &mut Cx<'_>,
) -> Poll<Result<Outcome, Error>> {
    loop {
        match state.as_mut().project() {
            StateProj::Called { future } => return future.poll(cx),
            StateProj::Over => return Poll::Pending,
            StateProj::Waiting => {}
        }
        if let Some(failed) = opened.take_if(|opened| opened.is_err()) {
            return Poll::Ready(failed.map(|_| Outcome::Skipped));
        }
        let Some(service) = service else { return Poll::Pending };
        // A tower service must be polled to readiness before its call, and readiness is not shared by clones.
        ready!(service.poll_ready(cx))?;
        let delivery = match opened.take().map(|opened| *opened) {
            Some(opened) => opened?,
            None => received.clone(),
        };
        let future = service.call(delivery);
        state.set(State::Called { future });
    }
}

/// Drops the future, then the service. Each drop may panic; the first panic is returned.
fn release<S: Service<Delivery>>(
    span: &Span,
    service: &mut Option<S>,
    state: &mut Pin<&mut State<S::Future>>,
) -> Result<(), Error> {
    let _entered = span.enter();
    let future = caught(HANDLER, || state.set(State::Over));
    let service = caught(HANDLER, || *service = None);
    future.and(service)
}
