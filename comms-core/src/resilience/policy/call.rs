//! One call through a policy: the future that runs its attempts.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Instant,
};
use tower_service::Service;

use super::{held::Held, parts::Parts};
use crate::{
    ErrorKind,
    clock::{self, Clock},
    context,
    resilience::{Class, Classify, Guard, Rejection},
};

pin_project! {
    /// The future of a [`PolicyService`](super::PolicyService): attempts, and the waits between them. Nothing
    /// happens before the first poll, and dropping it gives everything back that it holds.
    #[must_use = "a call does nothing unless it is polled"]
    pub struct Call<S, R, C>
    where
        S: Service<R>,
    {
        // Dropped in this order: the attempt has ended when its seat is given to another.
        #[pin]
        stage: Stage<S::Future>,
        // Made when there is something to wait for: most calls end before they need one.
        #[pin]
        timer: Option<clock::Sleep>,
        held: Held,
        service: S,
        request: Option<R>,
        classify: C,
        // The answer of an attempt that may have been executed, while another is made.
        unknown: Option<Result<S::Response, S::Error>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Begin,
        Admission,
        Queued,
        Ready,
        Running { #[pin] attempt: F },
        Waiting,
        Ended,
    }
}

/// How an attempt ended.
struct Ended<T, E> {
    result: Result<T, E>,
    class: Class,
    guard: Option<Guard>,
}

impl<T, E> Ended<T, E> {
    fn by<R>(result: Result<T, E>, classify: &impl Classify<R, T, E>) -> Self {
        let class = classify.classify(&result);
        Self { result, class, guard: None }
    }

    fn rejected<R>(rejection: Rejection, classify: &impl Classify<R, T, E>) -> Self {
        let guard = rejection.guard;
        let class = Class::Failure { kind: guard.kind(), retry_after: None };
        Self { result: Err(classify.reject(rejection)), class, guard: Some(guard) }
    }
}

impl<S: Service<R>, R, C> Call<S, R, C> {
    pub(super) fn new(parts: Arc<Parts>, service: S, request: R, classify: C) -> Self {
        let (held, request) = (Held::new(parts), Some(request));
        Self { stage: Stage::Begin, timer: None, held, service, request, classify, unknown: None }
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
            let Ended { result, class, guard } = ready!(self.as_mut().poll_attempt(cx));
            let mut this = self.as_mut().project();
            this.timer.set(None);
            this.stage.set(Stage::Ended);
            let idempotent = this.request.as_ref().map(|request| this.classify.is_idempotent(request));
            if let Some(delay) = this.held.settle(class, guard, idempotent) {
                if matches!(class, Class::Failure { kind: ErrorKind::Indeterminate, .. }) {
                    *this.unknown = Some(result);
                }
                this.timer.set(Some(this.held.clock().sleep(delay)));
                this.stage.set(Stage::Waiting);
                continue;
            }
            // A call that was refused before a handler took it proves nothing about an earlier attempt whose answer was
            // lost; an answer of the handler does.
            let (result, class) = match (class, this.unknown.take()) {
                (Class::Failure { kind, .. }, Some(unknown)) if refused_before_handler(kind) => {
                    (unknown, Class::Failure { kind: ErrorKind::Indeterminate, retry_after: None })
                }
                _ => (result, class),
            };
            this.held.measure(class);
            return Poll::Ready(result);
        }
    }
}

impl<S, R, C> Call<S, R, C>
where
    S: Service<R>,
    C: Classify<R, S::Response, S::Error>,
{
    /// Everything from the wait before an attempt to its end.
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended<S::Response, S::Error>> {
        let mut this = self.project();
        let (held, classify) = (this.held, &*this.classify);
        loop {
            let step = match this.stage.as_mut().project() {
                StageProj::Waiting => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    held.begin_again().map(|()| Stage::Admission)
                }
                StageProj::Begin => held.begin().map(|()| Stage::Admission),
                StageProj::Admission => {
                    held.admit(cx).map(|seated| if seated { Stage::Ready } else { Stage::Queued })
                }
                StageProj::Queued => {
                    if held.poll_seat(cx).is_ready() {
                        held.admit_again().map(|()| Stage::Ready)
                    } else {
                        ready!(poll_until(this.timer.as_mut(), held.queue_until(), held.clock(), cx));
                        Err(held.no_seat())
                    }
                }
                StageProj::Ready => match context::within(held.limit(), || this.service.poll_ready(cx)) {
                    Poll::Ready(Ok(())) => {
                        let again = this.request.as_ref().filter(|_| held.may_retry());
                        let copy = again.and_then(|request| classify.again(request));
                        // Present until the last attempt has taken it.
                        let Some(request) = copy.or_else(|| this.request.take()) else {
                            return Poll::Pending;
                        };
                        let attempt = context::within(held.limit(), || this.service.call(request));
                        Ok(Stage::Running { attempt })
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Ended::by(Err(error), classify)),
                    Poll::Pending => {
                        ready!(poll_until(this.timer.as_mut(), held.limit(), held.clock(), cx));
                        Err(held.not_ready())
                    }
                },
                StageProj::Running { attempt } => {
                    if let Poll::Ready(result) = context::within(held.limit(), || attempt.poll(cx)) {
                        return Poll::Ready(Ended::by(result, classify));
                    }
                    ready!(poll_until(this.timer.as_mut(), held.limit(), held.clock(), cx));
                    Err(held.rejection(Guard::Timeout))
                }
                // Polled after it was ready: there is nothing to say.
                StageProj::Ended => return Poll::Pending,
            };
            this.timer.set(None);
            match step {
                Ok(stage) => this.stage.set(stage),
                Err(rejection) => return Poll::Ready(Ended::rejected(rejection, classify)),
            }
        }
    }
}

const fn refused_before_handler(kind: ErrorKind) -> bool {
    use ErrorKind::{Misconfigured, NotExecuted, PermissionDenied, Rejected, Unauthenticated};
    matches!(kind, NotExecuted | Rejected | Misconfigured | Unauthenticated | PermissionDenied)
}

/// Ready once `until` is reached; the timer is made at the first time that there is something to wait for.
fn poll_until(
    mut timer: Pin<&mut Option<clock::Sleep>>,
    until: Option<Instant>,
    clock: &Clock,
    cx: &mut TaskContext<'_>,
) -> Poll<()> {
    let Some(until) = until else { return Poll::Pending };
    if timer.is_none() {
        timer.set(Some(clock.sleep(until.saturating_duration_since(clock.now()))));
    }
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}
