//! The memory of one call of a service: its input, the service and its future.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use tower_service::Service;
use tracing::Span;

use crate::{Error, context::Source, panic::caught};

const HANDLER: &str = "the handler";

/// A call of a service of any type.
pub(in crate::handler) trait Running<T>: Send {
    fn poll_end(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Result<T, Error>>;
    fn is_called(&self) -> bool;
}

/// The input of a call, from which the request is made when the service is ready.
pub(in crate::handler) trait Input {
    type Request;

    /// Sets the error with which the call ends before the service is called.
    fn fail(&mut self, error: Error);
    /// Takes the error with which the call ends.
    fn failed(&mut self) -> Option<Error>;
    fn request(&mut self) -> Result<Self::Request, Error>;
}

pin_project! {
    /// A call of the service `S`, whose future is `F`, with the input `I`.
    pub(in crate::handler) struct Cell<S, F, I> {
        input: I,
        source: Source,
        span: Span,
        // Kept until the end of the call: readiness may be bound to this clone.
        service: Option<S>,
        #[pin]
        state: State<F>,
    }

    impl<S, F, I> PinnedDrop for Cell<S, F, I> {
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
        // The service is not ready, or was not asked.
        Waiting,
        Called { #[pin] future: F },
        Over,
    }
}

impl<S: Clone, F, I: Input> Cell<S, F, I> {
    #[inline]
    pub(in crate::handler) fn new(service: &S, mut input: I, source: Source, span: Span) -> Self {
        let service = match caught(HANDLER, || service.clone()) {
            Ok(service) => Some(service),
            Err(panic) => {
                input.fail(panic);
                None
            }
        };
        Self { input, source, span, service, state: State::Waiting }
    }
}

impl<S, F, I> Cell<S, F, I> {
    pub(super) const fn input(&self) -> &I {
        &self.input
    }
}

impl<S, F, I, T> Running<T> for Cell<S, F, I>
where
    S: Service<I::Request, Response = T, Error = Error, Future = F> + Send,
    F: Future<Output = Result<T, Error>> + Send,
    I: Input + Send,
{
    fn poll_end(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Result<T, Error>> {
        let mut this = self.project();
        let (span, service, state, input) = (this.span, this.service, &mut this.state, this.input);
        this.source.enter(|| {
            let entered = span.enter();
            let polled = caught(HANDLER, || {
                let polled = step(service, input, state.as_mut(), cx);
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
}

/// Takes the call as far as it goes.
fn step<S, I, T>(
    service: &mut Option<S>,
    input: &mut I,
    mut state: Pin<&mut State<S::Future>>,
    cx: &mut Cx<'_>,
) -> Poll<Result<T, Error>>
where
    S: Service<I::Request, Response = T, Error = Error>,
    I: Input,
{
    loop {
        match state.as_mut().project() {
            StateProj::Called { future } => return future.poll(cx),
            StateProj::Over => return Poll::Pending,
            StateProj::Waiting => {}
        }
        if let Some(error) = input.failed() {
            return Poll::Ready(Err(error));
        }
        let Some(service) = service else { return Poll::Pending };
        // A tower service must be polled to readiness before its call, and readiness is not shared by clones.
        ready!(service.poll_ready(cx))?;
        let future = service.call(input.request()?);
        state.set(State::Called { future });
    }
}

/// Drops the future, then the service. Each drop may panic; the first panic is returned.
fn release<S, F>(span: &Span, service: &mut Option<S>, state: &mut Pin<&mut State<F>>) -> Result<(), Error> {
    let _entered = span.enter();
    let future = caught(HANDLER, || state.set(State::Over));
    let service = caught(HANDLER, || *service = None);
    future.and(service)
}
