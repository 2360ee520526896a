//! The client side: a channel around the channel of tonic, so that the deadline covers queueing and connecting as well.
//!
//! A call passes through the files in this order:
//! 1. `mod.rs`: [`Channel`] takes the caller's context, derives the deadline, and writes the remaining time and the
//!    trace on the request.
//! 2. `call.rs`: sends the request and waits for response headers, until the deadline.
//! 3. `transport/`: opens the connection and detects a peer that is gone.
//! 4. `answer.rs`: reads the status that headers or trailers report.
//! 5. `crate::deadline_body`: ends the response stream at the deadline.
//! 6. `crate::evidence`: attaches the proof that the call was not executed.
//! 7. `crate::status`: [`from_status`](crate::from_status) converts the status to an error kind.
//!
//! `resume/` stands around the calls of a generated client: it opens a server stream again after a break.

mod answer;
mod builder;
mod call;
mod resume;
mod transport;

pub use builder::ChannelBuilder;
pub use resume::{Resume, ResumeConfig, Resuming};

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

use crate::{call_metrics::CallMetrics, evidence::Evidence, status::to_status};

/// A gRPC channel to one peer, for use with any client that tonic generates.
///
/// The first call opens the connection, and a call after the loss of the connection opens a new one. Cheap to clone;
/// clones share the connection.
///
/// A call ends with DEADLINE_EXCEEDED at the earliest of three deadlines: the deadline of the caller's
/// [`Context`](comms_core::context::Context), the `grpc-timeout` of the request, and the [`timeout`](ChannelBuilder::timeout) of
/// the channel. The deadline covers queueing, connecting, the response headers and the response stream. If the deadline
/// has already passed, nothing is sent. The request carries the remaining time, a `traceparent` with a new span in the
/// caller's trace, and the correlation, cause and priority of the context.
///
/// [`from_status`](crate::from_status) converts the status of a failed call to an error:
/// - `NotExecuted`: the connection could not be made, or the peer refused the call before a handler ran and the
///   protocol proves it.
/// - `Rejected`: the deadline had passed before the call was sent, or a comms-grpc server rejected the call before a
///   handler ran.
/// - `Indeterminate`: the deadline passed or the connection failed during the call.
/// - `Misconfigured`, `Indeterminate` or `Invalid`, by HTTP status: the response was not gRPC, such as that of a proxy.
///
/// A status message is truncated to 4 KiB. A message of more than about 1 MiB on the wire costs the connection.
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
///     // Generated code: PaymentsClient::new(channel)
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
    /// Writes the running work's context on the request. Returns the time that remains, or why the call is not made.
    fn prepare(&self, headers: &mut HeaderMap) -> Result<Duration, Status> {
        let own = Deadline::after(self.timeout, &self.clock);
        let asked = Deadline::of_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        let deadline = asked.map_or(own, |asked| asked.earlier(own));
        let context = CallContext::current().child(&self.clock).with_deadline(deadline);
        let Some(left) = context.deadline.and_then(|deadline| deadline.remaining(&self.clock)) else {
            let text = format!("{}: the deadline passed before the call was sent", self.peer);
            return Err(Evidence::attach(Status::deadline_exceeded(text), ErrorKind::Rejected));
        };
        context.write_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        Ok(left)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    // Boxed, so that the call is one async function. The allocation is negligible beside a network call.
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    /// Returns ready at once. The wait for the transport is part of the call, so that the deadline covers it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut metrics = CallMetrics::start(telemetry::RPC_CLIENT_DURATION, &self.clock);
        metrics.set_method(request.uri().path());
        metrics.set_peer(&self.peer);
        match self.prepare(request.headers_mut()) {
            Ok(left) => {
                let Self { forwards_credentials, .. } = *self;
                let (transport, clock, peer) =
                    (self.transport.clone(), self.clock.clone(), self.peer.clone());
                Box::pin(Call { transport, request, left, clock, peer, forwards_credentials, metrics }.run())
            }
            Err(status) => {
                metrics.set_code(status.code());
                Box::pin(std::future::ready(Err(status)))
            }
        }
    }
}
