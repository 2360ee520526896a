//! The future of one hedged call: the attempts in flight, and the timer of the next one.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower_service::Service;

use super::{DenialReason, Hedge, attempt::Attempt};
use crate::{
    ErrorKind, clock,
    context::{Context as CallContext, Deadline},
    resilience::{Class, Classify},
};

/// The longest wait of a peer (pushback) after which a hedge is sent. Also the default of
/// [`RetryConfig::max_pushback`](crate::resilience::RetryConfig::max_pushback).
const MAX_PUSHBACK: Duration = Duration::from_secs(300);

pin_project! {
    /// The future of a [`HedgeService`](super::HedgeService).
    ///
    /// Nothing happens before the first poll. Dropping the future cancels all attempts.
    #[must_use = "a call does nothing unless it is polled"]
    pub struct HedgeCall<S, R, C>
    where
        S: Service<R>,
    {
        // The first attempt is stored inline, because most calls have no other one.
        #[pin]
        first: Option<Attempt<S, R>>,
        hedges: Vec<Pin<Box<Attempt<S, R>>>>,
        #[pin]
        timer: Option<clock::Sleep>,
        service: S,
        // Present until the last attempt consumes it.
        request: Option<R>,
        classify: C,
        state: CallState,
        // The failure to return if no attempt succeeds.
        failure: Option<Result<S::Response, S::Error>>,
        failure_is_indeterminate: bool,
    }
}

/// The decisions of one call.
struct CallState {
    hedge: Hedge,
    stage: Stage,
    /// The wait before a hedge; `None`: there are too few samples.
    delay: Option<Duration>,
    max_attempts: u32,
    attempts: u32,
    deadline: Option<Deadline>,
    sample: Option<FirstAttempt>,
}

#[derive(PartialEq)]
enum Stage {
    Start,
    Running,
    Done,
}

/// What follows a finished attempt.
enum Next {
    /// The call ends with this result.
    End,
    /// Another attempt is sent at once.
    Hedge,
    /// Another attempt is sent after this wait.
    HedgeAfter(Duration),
    /// The call goes on with the attempts in flight.
    Wait,
}

/// The duration of the first attempt. If the attempt is dropped after the delay, because a hedge was faster or the
/// caller has gone, the time until then is its sample. Without it a percentile would count fast attempts only, and fall.
struct FirstAttempt {
    hedge: Hedge,
    started: Instant,
    delay: Option<Duration>,
}

impl FirstAttempt {
    fn succeeded(self) {
        let now = self.hedge.clock().now();
        self.hedge.record(now.saturating_duration_since(self.started), now);
        self.discard();
    }

    /// Drops the attempt without a sample.
    fn discard(mut self) {
        self.delay = None;
    }
}

impl Drop for FirstAttempt {
    fn drop(&mut self) {
        let now = self.hedge.clock().now();
        let elapsed = now.saturating_duration_since(self.started);
        if self.delay.is_some_and(|delay| elapsed >= delay) {
            self.hedge.record(elapsed, now);
        }
    }
}

impl CallState {
    fn may_hedge(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// Sends no further attempt.
    fn stop(&mut self) {
        self.max_attempts = self.attempts;
    }

    /// Returns the timer of the next attempt, unless it would fire after the deadline.
    fn timer(&self, wait: Duration) -> Option<clock::Sleep> {
        let clock = self.hedge.clock();
        let in_time = match self.deadline {
            Some(deadline) => deadline.remaining(clock).is_some_and(|left| wait < left),
            None => true,
        };
        (self.may_hedge() && in_time).then(|| clock.sleep(wait))
    }

    /// Withdraws the token of another attempt. If there is none, no further attempt is sent.
    fn pay(&mut self) -> bool {
        if !self.may_hedge() {
            return false;
        }
        let paid = self.hedge.withdraw();
        if !paid {
            self.stop();
        }
        paid
    }

    /// Decides what follows the result of an attempt.
    fn after(&mut self, class: Class, is_first: bool) -> Next {
        match class {
            Class::Success => {
                if let Some(sample) = self.sample.take_if(|_| is_first) {
                    sample.succeeded();
                }
                self.hedge.succeeded(is_first);
                Next::End
            }
            Class::Failure { kind, retry_after } => {
                if let Some(sample) = self.sample.take_if(|_| is_first) {
                    sample.discard();
                }
                self.after_failure(kind, retry_after)
            }
        }
    }

    fn after_failure(&mut self, kind: ErrorKind, retry_after: Option<Duration>) -> Next {
        if !may_succeed_elsewhere(kind) {
            return Next::End;
        }
        match retry_after {
            _ if !self.may_hedge() => Next::Wait,
            Some(wait) if wait > MAX_PUSHBACK => {
                self.hedge.denied(DenialReason::Pushback);
                self.stop();
                Next::Wait
            }
            Some(wait) => Next::HedgeAfter(wait),
            None => Next::Hedge,
        }
    }
}

/// Returns whether another attempt may succeed after a failure of this kind. The other kinds are answers: they are the
/// result of the call.
const fn may_succeed_elsewhere(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate | ErrorKind::Rejected)
}

impl<S: Service<R>, R, C> HedgeCall<S, R, C> {
    pub(super) const fn new(hedge: Hedge, service: S, request: R, classify: C) -> Self {
        let state = CallState {
            hedge,
            stage: Stage::Start,
            delay: None,
            max_attempts: 1,
            attempts: 0,
            deadline: None,
            sample: None,
        };
        Self {
            first: None,
            hedges: Vec::new(),
            timer: None,
            service,
            request: Some(request),
            classify,
            state,
            failure: None,
            failure_is_indeterminate: false,
        }
    }
}

impl<S, R, C> HedgeCall<S, R, C>
where
    S: Service<R> + Clone,
    C: Classify<R, S::Response, S::Error>,
{
    /// Begins the call with its first attempt.
    fn start(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        let state = this.state;
        state.stage = Stage::Running;
        let now = state.hedge.clock().now();
        let idempotent = this.request.as_ref().is_some_and(|request| this.classify.is_idempotent(request));
        let plan = state.hedge.plan(now);
        state.delay = plan.delay;
        state.max_attempts = if idempotent { plan.max_attempts } else { 1 };
        state.deadline = CallContext::current().deadline;
        state.sample = plan.is_measured.then(|| FirstAttempt {
            hedge: state.hedge.clone(),
            started: now,
            delay: plan.delay,
        });
        self.send();
    }

    /// Sends an attempt, and starts the timer of the next one.
    fn send(self: Pin<&mut Self>) {
        let mut this = self.project();
        let state = this.state;
        state.attempts += 1;
        let original = this.request.as_ref().filter(|_| state.may_hedge());
        let clone = original.and_then(|request| this.classify.clone_request(request));
        if clone.is_none() {
            state.stop();
        }
        // Always present: this attempt is the last one if it consumes the original.
        let Some(request) = clone.or_else(|| this.request.take()) else { return };
        let attempt = Attempt::new(this.service.clone(), request);
        if state.attempts == 1 {
            this.first.set(Some(attempt));
        } else {
            this.hedges.push(Box::pin(attempt));
        }
        this.timer.set(state.delay.and_then(|delay| state.timer(delay)));
    }

    /// Polls the attempts in flight. Returns the result of one that finished, and whether it is the first attempt.
    fn poll_attempts(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Option<(Result<S::Response, S::Error>, bool)> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut()
            && let Poll::Ready(result) = first.poll(cx)
        {
            this.first.set(None);
            return Some((result, true));
        }
        for index in 0..this.hedges.len() {
            if let Poll::Ready(result) = this.hedges[index].as_mut().poll(cx) {
                drop(this.hedges.swap_remove(index));
                return Some((result, false));
            }
        }
        None
    }

    /// Ends the call: drops the other attempts.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.state.stage = Stage::Done;
        this.timer.set(None);
        this.first.set(None);
        this.hedges.clear();
        *this.request = None;
        this.state.sample = None;
    }

    /// Keeps the failure of an attempt. An attempt that may have been executed outweighs one that was refused.
    fn keep(self: Pin<&mut Self>, result: Result<S::Response, S::Error>, class: Class) {
        let this = self.project();
        let indeterminate = matches!(class, Class::Failure { kind: ErrorKind::Indeterminate, .. });
        if indeterminate || !*this.failure_is_indeterminate {
            *this.failure = Some(result);
            *this.failure_is_indeterminate = indeterminate;
        }
    }
}

impl<S, R, C> Future for HedgeCall<S, R, C>
where
    S: Service<R> + Clone,
    C: Classify<R, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.state.stage {
            Stage::Start => self.as_mut().start(),
            Stage::Running => {}
            // Polled after completion.
            Stage::Done => return Poll::Pending,
        }
        loop {
            while let Some((result, is_first)) = self.as_mut().poll_attempts(cx) {
                let class = self.classify.classify(&result);
                match self.as_mut().project().state.after(class, is_first) {
                    Next::End => {
                        self.end();
                        return Poll::Ready(result);
                    }
                    Next::Hedge => {
                        if self.as_mut().project().state.pay() {
                            self.as_mut().send();
                        } else {
                            self.as_mut().project().timer.set(None);
                        }
                    }
                    Next::HedgeAfter(wait) => {
                        let mut this = self.as_mut().project();
                        let timer = this.state.timer(wait);
                        this.timer.set(timer);
                    }
                    Next::Wait => {
                        let mut this = self.as_mut().project();
                        if !this.state.may_hedge() {
                            this.timer.set(None);
                        }
                    }
                }
                self.as_mut().keep(result, class);
            }
            let mut this = self.as_mut().project();
            let fired = this.timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx).is_ready());
            match fired {
                Some(true) => {
                    this.timer.set(None);
                    if this.state.pay() {
                        self.as_mut().send();
                    }
                }
                Some(false) => return Poll::Pending,
                None if this.first.is_some() || !this.hedges.is_empty() => return Poll::Pending,
                None => {
                    let failure = this.failure.take();
                    self.end();
                    // Always present: an attempt was sent, and it has failed.
                    return failure.map_or(Poll::Pending, Poll::Ready);
                }
            }
        }
    }
}
