//! One attempt of a call: chooses an endpoint, sends the request, and repeats it at once on another connection if the
//! peer has provably not processed it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Instant,
};

use comms_core::{ErrorKind, clock::Clock, context::Context as CallContext};
use futures::future::BoxFuture;
use http::Response;
use hyper::body::Incoming;
use tonic::{Code, Status};
use tower_service::Service;

use super::{
    answer::{failure, unknown_encoding},
    balance::{Balancer, Choice},
    connection::Unanswered,
    endpoint::{InFlight, Unreachable},
    failure::Failure,
    request::CallRequest,
};
use crate::evidence::{Evidence, proves_not_executed};

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

/// The response of an attempt: its headers, its body, and the call that it keeps in flight.
pub(super) type Answer = Response<(Incoming, Option<InFlight>)>;

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
        Box::pin(self.0.clone().attempt(request, deadline))
    }
}

impl Shared {
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
                endpoints = self.connect(deadline, self.balancer.resolved()).await?;
            }
            let choice = match self.balancer.choose(&endpoints) {
                Ok(choice) => choice,
                Err(unusable) => self.connect(deadline, self.balancer.wait(&endpoints, unusable)).await?,
            };
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

    /// Waits for a connection until `deadline`. Nothing has been sent when the wait fails.
    async fn connect<T>(
        &self,
        deadline: Instant,
        wait: impl Future<Output = Result<T, Unreachable>>,
    ) -> Result<T, Failure> {
        let peer = &self.peer;
        tokio::select! {
            biased;
            outcome = wait => outcome.map_err(|reason| match reason {
                Unreachable { reason, crowded: true, .. } => {
                    let status = Status::resource_exhausted(format!("{peer}: {reason}"));
                    Failure::of(Evidence::attach(status, ErrorKind::Rejected))
                }
                Unreachable { reason, retry_after, .. } => {
                    Failure::not_executed(Code::Unavailable, &format!("{peer}: {reason}"), retry_after)
                }
            }),
            () = self.clock.sleep_until(deadline) => {
                let text = format!("{peer}: no connection before the deadline");
                Err(Failure::not_executed(Code::DeadlineExceeded, &text, None))
            }
        }
    }

    /// Sends `request` to the chosen endpoint.
    async fn send(&self, choice: Choice<'_>, request: &mut CallRequest, deadline: Instant) -> Sent {
        let Choice { endpoint, mut connection, mut admission } = choice;
        let Some(http) = request.http(&endpoint.origin, !connection.has_answered(), deadline, &self.clock)
        else {
            let text = format!("{}: the deadline passed before the call was sent", self.peer);
            return Sent::Failed(Failure::not_executed(Code::DeadlineExceeded, &text, None));
        };
        // The deadline of the caller is no evidence about the endpoint.
        let is_own = request.head.caller_deadline.is_none_or(|caller| deadline < caller);
        admission.count_start(is_own.then_some(deadline));
        let body_polled = http.body().polled();
        match connection.send(http).await {
            Ok(mut response) => {
                let failure = failure(&mut response, self.forwards_credentials)
                    .or_else(|| unknown_encoding(response.headers(), &request.head.headers))
                    .map(Failure::of);
                let in_flight = admission.end(failure.as_ref().map(Failure::kind));
                match failure {
                    Some(failure) => Sent::Failed(failure),
                    None => Sent::Answered(response.map(|body| (body, in_flight))),
                }
            }
            Err(unanswered) => {
                let sent = self.unanswered(&unanswered, body_polled.load(Relaxed), deadline);
                let (Sent::Failed(failure) | Sent::Unsent(failure) | Sent::Refused(failure)) = &sent else {
                    return sent;
                };
                // A connection that ends in order is no fault of the endpoint.
                let kind = if matches!(sent, Sent::Failed(_)) { failure.kind() } else { ErrorKind::Rejected };
                drop(admission.end(Some(kind)));
                sent
            }
        }
    }

    /// Classifies a request without response headers.
    fn unanswered(&self, unanswered: &Unanswered, body_polled: bool, deadline: Instant) -> Sent {
        let error = unanswered.error();
        // hyper drops a request that waits for a free stream, with this error, when the connection ends.
        let dropped = error.is_user() && !body_polled;
        let unsent = unanswered.message().is_some() || error.is_canceled() || dropped;
        let refused = proves_not_executed(error);
        let failure =
            Failure::of_connection(error, &self.peer, unsent || refused, self.clock.now() >= deadline);
        match (unsent, refused) {
            (true, _) => Sent::Unsent(failure),
            (false, true) => Sent::Refused(failure),
            (false, false) => Sent::Failed(failure),
        }
    }
}
