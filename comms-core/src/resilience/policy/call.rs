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

use super::{Parts, held::Held};
use crate::{
    Clock, clock, context,
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
        service: S,
        request: Option<R>,
        classify: C,
        held: Held,
        // What the attempt before said, while another is made.
        last: Option<Result<S::Response, S::Error>>,
        #[pin]
        stage: Stage<S::Future>,
        // Made when there is something to wait for: most calls end before they need one.
        #[pin]
        timer: Option<clock::Sleep>,
    }

    impl<S, R, C> PinnedDrop for Call<S, R, C>
    where
        S: Service<R>,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // The attempt ends before its seat is given to another.
            this.stage.set(Stage::Ended);
            this.held.cancel();
        }
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Begin,
        Admit,
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
    fn by(result: Result<T, E>, classify: &impl Classify<T, E>) -> Self {
        let class = classify.classify(&result);
        Self { result, class, guard: None }
    }

    fn rejected(rejection: Rejection, classify: &impl Classify<T, E>) -> Self {
        let guard = rejection.guard;
        let class = Class::Failure { kind: guard.kind(), retry_after: None };
        Self { result: Err(classify.reject(rejection)), class, guard: Some(guard) }
    }
}

impl<S: Service<R>, R, C> Call<S, R, C> {
    pub(super) fn new(parts: Arc<Parts>, service: S, request: R, classify: C) -> Self {
        let held = Held::new(parts);
        Self { service, request: Some(request), classify, held, last: None, stage: Stage::Begin, timer: None }
    }
}

impl<S, R, C> Future for Call<S, R, C>
where
    S: Service<R>,
    R: Clone,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        loop {
            let ended = ready!(self.as_mut().poll_attempt(cx));
            let mut this = self.as_mut().project();
            // The attempt is dropped before its seat is given to another.
            this.timer.set(None);
            this.stage.set(Stage::Ended);
            let Some(delay) = this.held.settle(ended.class, ended.guard) else {
                // A guard that lets no other attempt through does not unsay what the one before said: it may
                // have happened.
                let last =
                    this.last.take().filter(|_| ended.guard.is_some_and(|guard| guard != Guard::Timeout));
                return Poll::Ready(last.unwrap_or(ended.result));
            };
            *this.last = Some(ended.result);
            this.timer.set(Some(this.held.clock().sleep(delay)));
            this.stage.set(Stage::Waiting);
        }
    }
}

impl<S, R, C> Call<S, R, C>
where
    S: Service<R>,
    R: Clone,
    C: Classify<S::Response, S::Error>,
{
    /// Everything from the wait before an attempt to its end.
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended<S::Response, S::Error>> {
        let mut this = self.project();
        let (held, classify) = (this.held, &*this.classify);
        loop {
            match this.stage.as_mut().project() {
                StageProj::Waiting => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    this.timer.set(None);
                    this.stage.set(Stage::Admit);
                    held.begin_again();
                }
                StageProj::Begin => match held.begin() {
                    Ok(()) => this.stage.set(Stage::Admit),
                    Err(rejection) => return Poll::Ready(Ended::rejected(rejection, classify)),
                },
                StageProj::Admit => match held.admit(cx) {
                    Ok(seated) => this.stage.set(if seated { Stage::Ready } else { Stage::Queued }),
                    Err(rejection) => return Poll::Ready(Ended::rejected(rejection, classify)),
                },
                StageProj::Queued => {
                    if held.poll_seat(cx).is_pending() {
                        ready!(poll_until(this.timer.as_mut(), held.queue_until(), held.clock(), cx));
                        return Poll::Ready(Ended::rejected(held.no_seat(), classify));
                    }
                    this.timer.set(None);
                    if let Err(rejection) = held.admit_again() {
                        return Poll::Ready(Ended::rejected(rejection, classify));
                    }
                    this.stage.set(Stage::Ready);
                }
                StageProj::Ready => {
                    match held.poll_ready(cx, |cx| this.service.poll_ready(cx)) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Ended::by(Err(error), classify)),
                        Poll::Pending => {
                            ready!(poll_until(this.timer.as_mut(), held.limit(), held.clock(), cx));
                            return Poll::Ready(Ended::rejected(held.rejection(Guard::Deadline), classify));
                        }
                    }
                    let request = if held.may_retry() { this.request.clone() } else { this.request.take() };
                    // Present until the last attempt has taken it.
                    let Some(request) = request else { return Poll::Pending };
                    let attempt = context::within(held.limit(), || this.service.call(request));
                    this.stage.set(Stage::Running { attempt });
                }
                StageProj::Running { attempt } => {
                    if let Poll::Ready(result) = context::within(held.limit(), || attempt.poll(cx)) {
                        return Poll::Ready(Ended::by(result, classify));
                    }
                    ready!(poll_until(this.timer.as_mut(), held.limit(), held.clock(), cx));
                    return Poll::Ready(Ended::rejected(held.rejection(Guard::Timeout), classify));
                }
                // Polled after it was ready: there is nothing to say.
                StageProj::Ended => return Poll::Pending,
            }
        }
    }
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
