//! One attempt of a call: chooses an endpoint, sends the request, and repeats it at once on another connection if the
//! peer has provably not processed it.

use std::{
    error::Error as StdError,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use comms_core::{ErrorKind, clock::Clock, context::Context as CallContext};
use futures::future::BoxFuture;
use http::Response;
use tonic::{Code, Status};
use tower_service::Service;

use super::{
    answer::{failure, unknown_encoding},
    balance::{Balancer, Choice, Unusable},
    connection::{ExchangeGuard, ReceivedBody, Unanswered},
    endpoint::{Endpoint, InFlight, Unreachable},
    failure::Failure,
    request::{CallRequest, Hedged},
};
use crate::evidence::proves_not_executed;

/// Transparent retries of a request that this process had not started to send. gRFC A6 sets no limit.
const MAX_UNSENT: u32 = 4;
/// Transparent retries of a request that the peer refused before its application saw it (gRFC A6).
const MAX_REFUSED: u32 = 1;

/// Makes the attempts of the calls of a channel.
#[derive(Debug, Clone)]
pub(super) struct Attempts(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) balancer: Balancer,
    pub(super) peer: Arc<str>,
    pub(super) forwards_credentials: bool,
    pub(super) clock: Clock,
}

/// The response of an attempt: its headers, its body, and what ends with the body.
pub(super) type Answer = Response<(ReceivedBody, Running)>;

/// A call whose response has begun. Dropping it ends the request, and the call is no longer in flight.
pub(super) struct Running {
    _request: ExchangeGuard,
    _in_flight: Option<InFlight>,
}

/// The end of a request on a connection.
enum Sent {
    Answered(Answer),
    Failed(Failure),
    /// The request was still in this process.
    Unsent(Failure),
    /// The peer has not processed the request.
    Refused(Failure),
}

impl Attempts {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Service<CallRequest> for Attempts {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CallRequest) -> Self::Future {
        // The policy has set the end of the attempt as the deadline of the context.
        let limit = CallContext::current().deadline.map(|deadline| deadline.instant());
        let deadline = limit.map_or(request.head.deadline, |limit| limit.min(request.head.deadline));
        let shared = self.0.clone();
        match request.head.hedged {
            Some(_) => Box::pin(shared.bounded_attempt(request, deadline)),
            None => Box::pin(shared.attempt(request, deadline)),
        }
    }
}

impl Shared {
    /// Ends an attempt at `deadline`. The time limit of a policy begins with each attempt of a hedged call, so it is later
    /// than the deadline of the call.
    async fn bounded_attempt(
        self: Arc<Self>,
        request: CallRequest,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        tokio::select! {
            biased;
            result = self.clone().attempt(request, deadline) => result,
            () = self.clock.sleep_until(deadline) => {
                let text = format!("{}: no answer before the deadline", self.peer);
                Err(Failure::of(Status::deadline_exceeded(text)))
            }
        }
    }

    async fn attempt(
        self: Arc<Self>,
        mut request: CallRequest,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let (mut unsent, mut refused) = (0, 0);
        if !request.can_repeat() {
            let text = format!("{}: the request is longer than replay_limit and was sent before", self.peer);
            return Err(Failure::not_executed(Code::Unavailable, &text, None).without_retry());
        }
        loop {
            let mut endpoints = self.balancer.current();
            if endpoints.is_empty() {
                endpoints = Box::pin(self.connect(&request, deadline, self.balancer.resolved())).await?;
            }
            let choice = match self.choose(&endpoints, &request) {
                Ok(choice) => choice,
                Err(unusable) => {
                    let wait = self.balancer.wait(&endpoints, unusable, request.head.wait_for_ready);
                    // Boxed, because it is larger than the rest of the attempt, and few attempts wait.
                    match Box::pin(self.connect(&request, deadline, wait)).await? {
                        Some(choice) => choice,
                        // The endpoints have changed.
                        None => continue,
                    }
                }
            };
            if let Some(hedged) = &request.head.hedged {
                hedged.endpoints().push(choice.endpoint.address.clone());
            }
            let (failure, repeat) = match self.send(choice, &mut request, deadline).await {
                Sent::Answered(answer) => return Ok(answer),
                Sent::Failed(failure) => (failure, false),
                Sent::Unsent(failure) => {
                    unsent += 1;
                    (failure, unsent <= MAX_UNSENT)
                }
                Sent::Refused(failure) => {
                    refused += 1;
                    (failure, refused <= MAX_REFUSED)
                }
            };
            if !request.can_repeat() {
                return Err(failure.without_retry());
            }
            if !repeat {
                return Err(failure);
            }
            tracing::debug!(peer = %self.peer, "the request is sent again: the peer has not processed it");
        }
    }

    /// Chooses an endpoint. An attempt of a hedged call prefers an endpoint to which no other attempt was sent.
    fn choose<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
        request: &CallRequest,
    ) -> Result<Choice<'a>, Unusable<'a>> {
        match &request.head.hedged {
            Some(hedged) => self.balancer.choose(endpoints, &hedged.endpoints()),
            None => self.balancer.choose(endpoints, &[]),
        }
    }

    /// Waits for a connection until `deadline`. Nothing has been sent when the wait fails.
    async fn connect<T>(
        &self,
        request: &CallRequest,
        deadline: Instant,
        wait: impl Future<Output = Result<T, Unreachable>>,
    ) -> Result<T, Failure> {
        let peer = &self.peer;
        let waiting = request.head.hedged.as_ref().map(Hedged::wait_for_connection);
        if let Some(None) = waiting {
            let text = format!("{peer}: another attempt of the call waits for a connection");
            return Err(Failure::refused(Code::Unavailable, &text, ErrorKind::NotExecuted));
        }
        tokio::select! {
            biased;
            outcome = wait => outcome.map_err(|reason| match reason {
                Unreachable { reason, crowded: true, .. } => {
                    let text = format!("{peer}: {reason}");
                    Failure::refused(Code::ResourceExhausted, &text, ErrorKind::Rejected)
                }
                Unreachable { reason, retry_after: None, .. } => {
                    let text = format!("{peer}: {reason}");
                    Failure::refused(Code::Unavailable, &text, ErrorKind::NotExecuted)
                }
                Unreachable { reason, retry_after, .. } => {
                    Failure::not_executed(Code::Unavailable, &format!("{peer}: {reason}"), retry_after)
                }
            }),
            () = self.clock.sleep_until(deadline) => {
                let text = format!("{peer}: no connection with a free stream before the deadline");
                Err(Failure::not_executed(Code::DeadlineExceeded, &text, None))
            }
        }
    }

    /// Sends `request` to the chosen endpoint.
    async fn send(&self, choice: Choice<'_>, request: &mut CallRequest, deadline: Instant) -> Sent {
        let Choice { endpoint, stream, mut admission } = choice;
        let Some(http) = request.http(&endpoint.origin, stream.is_first(), deadline, &self.clock) else {
            let text = format!("{}: the deadline passed before the call was sent", self.peer);
            return Sent::Failed(Failure::not_executed(Code::DeadlineExceeded, &text, None));
        };
        let is_callers = request.head.caller_deadline.is_some_and(|caller| caller <= deadline);
        admission.count_start(deadline, is_callers, stream.exchange().clone());
        if request.head.hedged.is_some() {
            admission.compete(request.head.clone(), request.number());
        }
        match stream.send(http, request.head.deadline).await {
            Ok((mut response, guard)) => {
                let failure = failure(&mut response, self.forwards_credentials)
                    .or_else(|| unknown_encoding(response.headers(), &request.head.headers))
                    .map(Failure::of);
                let in_flight = admission.end(failure.as_ref().map(Failure::kind));
                match failure {
                    Some(failure) => Sent::Failed(failure),
                    None => Sent::Answered(
                        response.map(|body| (body, Running { _request: guard, _in_flight: in_flight })),
                    ),
                }
            }
            Err(unanswered) => {
                let sent = self.unanswered(&unanswered, deadline);
                match &sent {
                    Sent::Failed(failure) if !unanswered.is_local => {
                        drop(admission.end(Some(failure.kind())))
                    }
                    // A connection that ends in order, and a body that fails, are no evidence about the endpoint.
                    _ => admission.withdraw(),
                }
                sent
            }
        }
    }

    /// Classifies a request without response headers.
    fn unanswered(&self, unanswered: &Unanswered, deadline: Instant) -> Sent {
        let Unanswered { error, is_unsent, is_local } = unanswered;
        let error: &(dyn StdError + 'static) = &**error;
        let refused = proves_not_executed(error);
        let failure =
            Failure::of_connection(error, &self.peer, *is_unsent || refused, self.clock.now() >= deadline);
        match (*is_unsent, refused) {
            (true, _) => Sent::Unsent(failure),
            (false, true) => Sent::Refused(failure),
            (false, false) if *is_local => Sent::Failed(failure.of_caller()),
            (false, false) => Sent::Failed(failure),
        }
    }
}
