//! The client side: a channel that stands outside tonic's own, so that queueing and connecting are
//! within the deadline too.
//!
//! Order, from the caller inwards: metrics, deadline, trace, `grpc-timeout`, transport. The layers to come
//! (retry or hedge, then breaker and bulkhead per endpoint) stand before the transport; `grpc-timeout` is
//! written behind them, once per attempt.

mod answer;
mod builder;
mod call;
mod transport;

pub(crate) use answer::reported;
pub use builder::ChannelBuilder;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use call::Call;
use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context as CallContext, Deadline, Protocol},
    telemetry,
};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::{Status, body::Body};
use tower_service::Service;

use crate::{evidence::Evidence, measure::Measure, to_status};

/// A connection to one peer, made when it is first needed and made again when it is lost. Cheap to clone;
/// clones share the connection. Any generated client takes it.
///
/// Each call ends by the earliest of the caller's [`Context`](comms_core::context::Context) deadline, a
/// `grpc-timeout` the caller put on the request, and the channel's own limit: with DEADLINE_EXCEEDED,
/// at once if it has passed already, and also in the middle of a response stream. What remains is sent along,
/// with a `traceparent` of a new span in the caller's trace, its correlation, cause and priority.
///
/// [`from_status`](crate::from_status) makes an error of the status that a call returns. It is `NotExecuted` if the
/// connection could not be made, or if the peer refused the call before a handler ran and the protocol proves it;
/// `Rejected` if the deadline had passed before the call was sent; and `Indeterminate` if the deadline passed, or the
/// connection broke, in the middle of the call. A response that is not gRPC, as of a proxy, is `Misconfigured` or
/// `Indeterminate` by its HTTP status. A status message is cut to 4 KiB; one of more than about 1 MiB on the wire costs
/// the connection.
///
/// ```
/// use comms_grpc::Channel;
/// use std::time::Duration;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), comms_core::Error> {
///     let channel = Channel::builder("http://127.0.0.1:50051")
///         .peer("payment")
///         .timeout(Duration::from_millis(800))
///         .build()?;
///     // PaymentsClient::new(channel), or whatever tonic generated.
///     let client = tonic::client::Grpc::new(channel);
///     # drop(client);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Channel {
    transport: tonic::transport::Channel,
    timeout: Duration,
    peer: Arc<str>,
    forwards_credentials: bool,
    clock: Clock,
}

impl Channel {
    /// Begins a channel to `uri`: `http://host:port`.
    pub fn builder(uri: impl Into<String>) -> ChannelBuilder {
        ChannelBuilder::new(uri.into())
    }

    /// Writes the running work's context on the request. Returns the time that remains, or why the call is not made.
    fn prepare(&self, headers: &mut HeaderMap) -> Result<Duration, Status> {
        let own = Deadline::after(self.timeout, &self.clock);
        let asked = Deadline::of_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        let deadline = asked.map_or(own, |asked| asked.earlier(own));
        let context = CallContext::current().child(&self.clock).with_deadline(deadline);
        let Some(left) = context.deadline.and_then(|deadline| deadline.remaining(&self.clock)) else {
            let text = format!("{}: the deadline passed before the call", self.peer);
            return Err(Evidence::attach(Status::deadline_exceeded(text), ErrorKind::Rejected));
        };
        context.write_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        Ok(left)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    // Boxed: a box is nothing beside a call, and the call then reads from top to bottom.
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    /// Always ready: waiting for the transport is part of the call, so that the deadline bounds it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut measure = Measure::start(telemetry::RPC_CLIENT_DURATION, &self.clock);
        measure.method(request.uri().path());
        measure.peer(&self.peer);
        match self.prepare(request.headers_mut()) {
            Ok(left) => {
                let (transport, peer) = (self.transport.clone(), self.peer.clone());
                let forwards_credentials = self.forwards_credentials;
                Box::pin(Call { transport, request, left, peer, forwards_credentials, measure }.run())
            }
            Err(status) => {
                measure.ended(status.code());
                Box::pin(std::future::ready(Err(status)))
            }
        }
    }
}
