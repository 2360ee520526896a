//! The future of one call: runs the attempts through the guards, and waits between them.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Instant,
};
use tower_service::Service;

use super::{call_state::CallState, version::PolicyVersion};
use crate::{
    ErrorKind,
    clock::{self, Clock},
    context,
    resilience::{Class, Classify, Guard, Rejection, Retry},
};

pin_project! {
    /// The future of a [`PolicyService`](super::PolicyService): the attempts of a call and the waits between them.
    ///
    /// Nothing happens before the first poll. Dropping the future cancels the call and releases its permits.
    #[must_use = "a call does nothing unless it is polled"]
    pub struct Call<S, R, C>
    where
        S: Service<R>,
    {
        // Fields are dropped in this order: the attempt is dropped before its permit is released.
        #[pin]
        stage: Stage<S::Future>,
        // Created at the first wait, because most calls end without one.
        #[pin]
        timer: Option<clock::Sleep>,
        state: CallState,
        service: S,
        // Present until the last attempt consumes it.
        request: Option<R>,
        classify: C,
        // The result of an earlier attempt that may have been executed.
        indeterminate: Option<Result<S::Response, S::Error>>,
    }
}

pin_project! {
    /// The stages of a call, in their order. After `Backoff` the call continues at `Acquire`.
    #[project = StageProj]
    enum Stage<F> {
        Start,
        Acquire,
        Queued,
        Ready,
        Running { #[pin] attempt: F },
        Backoff,
        Done,
    }
}

/// The end of an attempt: its result, or the rejection by a guard.
struct AttemptEnd<T, E> {
    result: Result<T, E>,
    class: Class,
    guard: Option<Guard>,
}

impl<T, E> AttemptEnd<T, E> {
    fn from_result<R>(result: Result<T, E>, classify: &impl Classify<R, T, E>) -> Self {
        let class = classify.classify(&result);
        Self { result, class, guard: None }
    }

    fn from_rejection<R>(rejection: Rejection, classify: &impl Classify<R, T, E>) -> Self {
        let guard = rejection.guard;
        let class = Class::Failure { kind: guard.kind(), retry_after: None };
        Self { result: Err(classify.reject(rejection)), class, guard: Some(guard) }
    }
}

impl<S: Service<R>, R, C> Call<S, R, C> {
    pub(super) fn new(policy: Arc<PolicyVersion>, service: S, request: R, classify: C) -> Self {
        let (state, request) = (CallState::new(policy), Some(request));
        Self { stage: Stage::Start, timer: None, state, service, request, classify, indeterminate: None }
    }
}

impl<S, R, C> Future for Call<S, R, C>
where
    S: Service<R>,
    C: Classify<R, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        loop {
            let AttemptEnd { result, class, guard } = ready!(self.as_mut().poll_attempt(cx));
            let mut this = self.as_mut().project();
            this.timer.set(None);
            this.stage.set(Stage::Done);
            let retry = match (class, guard) {
                (Class::Failure { kind, .. }, None) => this.classify.retry(&result, kind),
                (Class::Failure { kind, .. }, Some(_)) => kind.retry(),
                (Class::Success, _) => Retry::No,
            };
            let idempotent = this.request.as_ref().map(|request| this.classify.is_idempotent(request));
            if let Some(delay) = this.state.end_attempt(class, guard, retry, idempotent) {
                if matches!(class, Class::Failure { kind: ErrorKind::Indeterminate, .. }) {
                    *this.indeterminate = Some(result);
                }
                this.timer.set(Some(this.state.clock().sleep(delay)));
                this.stage.set(Stage::Backoff);
                continue;
            }
            // If the last attempt was refused, an earlier attempt whose answer was lost may still have been executed:
            // return its result. An answer of the handler is conclusive.
            let (result, class) = match (class, this.indeterminate.take()) {
                (Class::Failure { kind, .. }, Some(indeterminate))
                    if kind != ErrorKind::Indeterminate && !kind.is_conclusive() =>
                {
                    (indeterminate, Class::Failure { kind: ErrorKind::Indeterminate, retry_after: None })
                }
                _ => (result, class),
            };
            this.state.record_call(class);
            return Poll::Ready(result);
        }
    }
}

impl<S, R, C> Call<S, R, C>
where
    S: Service<R>,
    C: Classify<R, S::Response, S::Error>,
{
    /// Runs one attempt, from the start of the call or the backoff to the attempt's end.
    fn poll_attempt(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<AttemptEnd<S::Response, S::Error>> {
        let mut this = self.project();
        let (state, classify) = (this.state, &*this.classify);
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Start => state.start().map(|()| Stage::Acquire),
                StageProj::Acquire => {
                    state.acquire(cx).map(|acquired| if acquired { Stage::Ready } else { Stage::Queued })
                }
                StageProj::Queued => {
                    if state.poll_permit(cx).is_ready() {
                        state.reacquire_breaker().map(|()| Stage::Ready)
                    } else {
                        ready!(poll_until(this.timer.as_mut(), state.queue_deadline(), state.clock(), cx));
                        Err(state.queue_timeout())
                    }
                }
                StageProj::Ready => {
                    match context::within(state.attempt_deadline(), || this.service.poll_ready(cx)) {
                        Poll::Ready(Ok(())) => {
                            let original = this.request.as_ref().filter(|_| state.may_retry());
                            let clone = original.and_then(|request| classify.clone_request(request));
                            // Always present: this attempt is the last one if it consumes the original.
                            let Some(request) = clone.or_else(|| this.request.take()) else {
                                return Poll::Pending;
                            };
                            let attempt =
                                context::within(state.attempt_deadline(), || this.service.call(request));
                            Ok(Stage::Running { attempt })
                        }
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(AttemptEnd::from_result(Err(error), classify));
                        }
                        Poll::Pending => {
                            let deadline = state.attempt_deadline();
                            ready!(poll_until(this.timer.as_mut(), deadline, state.clock(), cx));
                            Err(state.unready())
                        }
                    }
                }
                StageProj::Running { attempt } => {
                    let poll = context::within(state.attempt_deadline(), || attempt.poll(cx));
                    if let Poll::Ready(result) = poll {
                        return Poll::Ready(AttemptEnd::from_result(result, classify));
                    }
                    ready!(poll_until(this.timer.as_mut(), state.attempt_deadline(), state.clock(), cx));
                    Err(state.rejection(Guard::Timeout))
                }
                StageProj::Backoff => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    state.restart_attempt().map(|()| Stage::Acquire)
                }
                // Polled after completion.
                StageProj::Done => return Poll::Pending,
            };
            this.timer.set(None);
            match next {
                Ok(stage) => this.stage.set(stage),
                Err(rejection) => return Poll::Ready(AttemptEnd::from_rejection(rejection, classify)),
            }
        }
    }
}

/// Resolves at `until`; never if it is `None`. Creates the timer at the first poll.
fn poll_until(
    mut timer: Pin<&mut Option<clock::Sleep>>,
    until: Option<Instant>,
    clock: &Clock,
    cx: &mut TaskContext<'_>,
) -> Poll<()> {
    let Some(until) = until else { return Poll::Pending };
    if timer.is_none() {
        timer.set(Some(clock.sleep_until(until)));
    }
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}
