//! The future of one hedged call: the attempts in flight, and the timer of the next one.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;

use super::{
    Hedge,
    attempt::Attempt,
    call_state::{CallState, Failed, Next, Stage},
};
use crate::{
    ErrorKind, clock,
    resilience::{Class, Classify},
};

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

/// An attempt that finished.
struct Finished<T, E> {
    result: Result<T, E>,
    is_first: bool,
}

impl<S: Service<R>, R, C> HedgeCall<S, R, C> {
    pub(super) const fn new(hedge: Hedge, service: S, request: R, classify: C) -> Self {
        Self {
            first: None,
            hedges: Vec::new(),
            timer: None,
            service,
            request: Some(request),
            classify,
            state: CallState::new(hedge),
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
        let idempotent = this.request.as_ref().is_some_and(|request| this.classify.is_idempotent(request));
        this.state.start(idempotent);
        self.send();
    }

    /// Pays for another attempt and sends it. Without a token the call goes on with the attempts in flight.
    fn hedge(mut self: Pin<&mut Self>) {
        let mut this = self.as_mut().project();
        this.timer.set(None);
        if this.state.pay() {
            self.send();
        }
    }

    /// Starts the timer of the next attempt.
    fn hedge_after(self: Pin<&mut Self>, wait: Duration) {
        let mut this = self.project();
        let timer = this.state.timer(wait);
        this.timer.set(timer);
    }

    /// Sends an attempt, and starts the timer of the next one.
    fn send(self: Pin<&mut Self>) {
        let mut this = self.project();
        let state = this.state;
        state.count_attempt();
        let original = this.request.as_ref().filter(|_| state.may_hedge());
        let clone = original.and_then(|request| this.classify.clone_request(request));
        if clone.is_none() {
            state.stop();
        }
        // Always present: this attempt is the last one if it consumes the original.
        let Some(request) = clone.or_else(|| this.request.take()) else { return };
        let attempt = Attempt::new(this.service.clone(), request);
        if state.is_first_attempt() {
            this.first.set(Some(attempt));
        } else {
            this.hedges.push(Box::pin(attempt));
        }
        this.timer.set(state.delay.and_then(|delay| state.timer(delay)));
    }

    /// Polls the attempts in flight, and returns one that finished.
    fn poll_attempts(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Option<Finished<S::Response, S::Error>> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut()
            && let Poll::Ready(result) = first.poll(cx)
        {
            this.first.set(None);
            return Some(Finished { result, is_first: true });
        }
        for index in 0..this.hedges.len() {
            if let Poll::Ready(result) = this.hedges[index].as_mut().poll(cx) {
                drop(this.hedges.swap_remove(index));
                return Some(Finished { result, is_first: false });
            }
        }
        None
    }

    /// Stops the timer of the next attempt if none may follow, or if none is in flight and no failure is a reason for
    /// another one.
    fn stop_timer_without_need(self: Pin<&mut Self>) {
        let mut this = self.project();
        let in_flight = this.first.is_some() || !this.hedges.is_empty();
        if !this.state.keeps_timer(in_flight) {
            this.timer.set(None);
        }
    }

    /// Ends the call: drops the other attempts.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.state.end();
        this.timer.set(None);
        this.first.set(None);
        this.hedges.clear();
        *this.request = None;
    }

    /// Returns what the failure of an attempt means for the call. Without effect for a success.
    fn failed(&self, result: &Result<S::Response, S::Error>, class: Class) -> Failed {
        let Class::Failure { kind, .. } = class else { return Failed::Conclusive };
        if self.classify.is_local_refusal(result) {
            Failed::Refused
        } else if self.classify.is_conclusive(result, kind) {
            Failed::Conclusive
        } else {
            Failed::Inconclusive(self.classify.retry(result, kind))
        }
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
            while let Some(Finished { result, is_first }) = self.as_mut().poll_attempts(cx) {
                let class = self.classify.classify(&result);
                let failed = self.failed(&result, class);
                match self.as_mut().project().state.after(class, is_first, failed) {
                    Next::End => {
                        self.end();
                        return Poll::Ready(result);
                    }
                    Next::Hedge => self.as_mut().hedge(),
                    Next::HedgeAfter(wait) => self.as_mut().hedge_after(wait),
                    Next::Wait => self.as_mut().stop_timer_without_need(),
                }
                self.as_mut().keep(result, class);
            }
            let mut this = self.as_mut().project();
            let fired = this.timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx).is_ready());
            match fired {
                Some(true) => match self.state.pushback() {
                    Some(wait) => self.as_mut().hedge_after(wait),
                    None => self.as_mut().hedge(),
                },
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
