//! The layer around every handler: installs the caller's context, enforces the deadline, catches panics and records
//! metrics.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{
    BoxError, Error, ErrorKind,
    clock::Clock,
    context::{Context as CallContext, Deadline, Protocol},
    telemetry,
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode};
use tonic::{Code, Status, body::Body};
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, Span};

use super::{
    access::logged,
    call_metrics::{CallMetrics, Meters},
    context_body::{ContextBody, status_of_error, status_of_panic},
    deadline_body::DeadlineBody,
    listener::ResetAfter,
    response::{UnknownMethod, failure_response, set_proof},
};
use crate::{
    deadline_timer::DeadlineTimer,
    status::{Refusal, to_status},
};

/// The longest time limit of a call, about three years: adding it to an instant of the clock does not overflow.
const LONGEST: Duration = Duration::from_secs(99_999_999);

/// A tower layer that runs each call in the [`Context`](comms_core::context::Context) of its caller and ends it at its deadline.
///
/// The context comes from the request headers ([`Context::of_request`](comms_core::context::Context::of_request)). Its deadline
/// is the earlier of the caller's `grpc-timeout` and the maximum of this layer.
///
/// - **Malformed headers.** The response to a `grpc-timeout` or an `idempotency-key` that cannot be read is
///   INVALID_ARGUMENT. Neither is ignored.
/// - **Deadline.** The response is DEADLINE_EXCEEDED if the deadline had passed when the call arrived, passes while the
///   handler runs (the handler is dropped), or passes in the middle of the response stream. In the first case the
///   response carries the proof that the call was not executed.
/// - **Panic.** The response to a handler that panics is INTERNAL with a fixed message. The server continues.
/// - **Errors of layers below.** A [`comms_core::Error`] is sent as by [`to_status`](crate::to_status). An error of an
///   unknown type is INTERNAL with a fixed message.
/// - **Metrics.** The duration of each call is recorded by method and status code. The histogram of a method and a code
///   is created at its first use: install the recorder before the first call.
/// - **Size.** A status message is truncated to 4 KiB (6 KiB percent-encoded), including that of a status that the
///   handler created. Details that exceed 7 KiB together with the message are removed.
/// - **Codes of tonic.** A message over a limit of tonic is RESOURCE_EXHAUSTED instead of OUT_OF_RANGE, and a unary call
///   without a message is UNIMPLEMENTED instead of INTERNAL.
/// - **Proof.** The header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED) is sent on calls that arrive after their
///   deadline, on calls that [`Access`](crate::Access) refuses, and on statuses from [`refused`](crate::refused). It is
///   removed from all other responses.
///
/// [`serve`](crate::serve) applies this layer. Use it directly only for a server that is assembled from tonic's parts.
/// The server of tonic has a timer for `grpc-timeout` outside of all layers, which may answer CANCELLED first.
///
/// The stream of a peer that does not read its response is not polled, so the layer cannot end the stream. On a connection
/// of [`listen`](crate::listen) the listener resets such a stream one second after the deadline.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_grpc::ServerLayer;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), comms_core::Error> {
/// let layer = ServerLayer::new(Duration::from_secs(30), Clock::system())?;
/// let stack = tower::ServiceBuilder::new().layer(layer);
/// # drop(stack);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServerLayer {
    max_timeout: Duration,
    meters: Arc<Meters>,
    clock: Clock,
}

impl ServerLayer {
    /// Returns a layer that ends each call after at most `max_timeout`, measured by `clock`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`] if `max_timeout` is zero.
    pub fn new(max_timeout: Duration, clock: Clock) -> Result<Self, Error> {
        if max_timeout.is_zero() {
            return Err(Error::invalid("gRPC server: max_timeout must be greater than zero"));
        }
        let meters = Arc::new(Meters::new(telemetry::RPC_SERVER_DURATION));
        Ok(Self { max_timeout, meters, clock })
    }

    /// Returns the context of a call and its deadline, or the status that refuses the call.
    fn context(&self, headers: &HeaderMap) -> Result<(CallContext, Instant), Status> {
        let context =
            CallContext::of_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        let now = self.clock.now();
        let longest = Deadline::at(now + self.max_timeout.min(LONGEST));
        let deadline = context.deadline.map_or(longest, |deadline| deadline.earlier(longest));
        if deadline.instant() <= now {
            return Err(Refusal::attach(
                Status::deadline_exceeded("the deadline passed before the call arrived"),
                ErrorKind::Rejected,
            ));
        }
        Ok((context.with_deadline(deadline), deadline.instant()))
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, layer: self.clone() }
    }
}

/// The service that a [`ServerLayer`] creates around another service.
#[derive(Debug, Clone)]
pub struct ServerService<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ServerService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    ReqBody: Send + 'static,
    ResBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// Returns ready at once. The wait for the readiness of the inner service is part of the call, within the deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut metrics = self.layer.meters.start(request.uri().path(), &self.layer.clock);
        let (context, deadline) = match self.layer.context(request.headers()) {
            Ok(context) => context,
            Err(status) => {
                metrics.set_known_method();
                metrics.set_code(status.code());
                return Box::pin(std::future::ready(Ok(failure_response(status))));
            }
        };
        let timer = DeadlineTimer::new(deadline, self.layer.clock.clone());
        let span = tracing::info_span!(
            "serve",
            rpc.method = logged(request.uri().path()).trim_start_matches('/'),
            // Made only if the span is enabled.
            trace_id = context.trace.map(|t| t.trace_id()),
        );
        let handler = context.clone().scope(Oneshot::new(self.inner.clone(), request));
        let handler = AssertUnwindSafe(handler).catch_unwind().instrument(span.clone());
        Box::pin(Running {
            handler: Some(handler),
            call: Some(RunningCall { context, span, timer, metrics }),
        })
    }
}

/// The call of a handler until its response or its deadline. An async function would keep a second copy of the request.
#[pin_project::pin_project]
struct Running<F> {
    /// Present until the end, as `call`.
    #[pin]
    handler: Option<F>,
    call: Option<RunningCall>,
}

struct RunningCall {
    context: CallContext,
    span: Span,
    timer: DeadlineTimer,
    metrics: CallMetrics,
}

impl<F, ResBody, E> Future for Running<F>
where
    F: Future<Output = std::thread::Result<Result<Response<ResBody>, E>>>,
    ResBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(handler), Some(call)) = (this.handler.as_mut().as_pin_mut(), this.call.as_mut()) else {
            return Poll::Pending;
        };
        let result = match handler.poll(cx) {
            Poll::Ready(Ok(Ok(response))) => Ok(response),
            Poll::Ready(Ok(Err(error))) => Err(status_of_error(error.into())),
            Poll::Ready(Err(panic)) => Err(status_of_panic(&*panic)),
            Poll::Pending => {
                ready!(call.timer.poll(cx));
                Err(Status::deadline_exceeded("the handler did not respond before the deadline"))
            }
        };
        this.handler.set(None);
        // Always present.
        let Some(call) = this.call.take() else { return Poll::Pending };
        Poll::Ready(Ok(call.respond(result)))
    }
}

impl RunningCall {
    fn respond<B>(self, result: Result<Response<B>, Status>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { context, span, timer, mut metrics } = self;
        match result {
            Ok(mut response) => {
                let refusal = response.extensions().get().and_then(Refusal::of);
                set_proof(response.headers_mut(), refusal);
                metrics.set_code_from(response.headers());
                // A body without frames is not polled.
                if response.body().is_end_stream() {
                    metrics.end_of_stream();
                }
                // The path of a route that does not exist makes no label, because a peer can send any path. The fallback of a
                // router answers such a path with 404 and without a status.
                let unknown = response.extensions().get::<UnknownMethod>().is_some();
                let is_answer = response.status() == StatusCode::OK;
                if is_answer && metrics.code() != Some(Code::Unimplemented) && !unknown {
                    metrics.set_method(metrics.code().is_none_or(|code| code == Code::Ok));
                } else {
                    metrics.set_known_method();
                }
                if let Some(deadline) = context.deadline {
                    response.extensions_mut().insert(ResetAfter(deadline.instant()));
                }
                response.map(|inner| {
                    let body = ContextBody::new(inner, context, span);
                    Body::new(DeadlineBody::new(body, timer, metrics))
                })
            }
            Err(status) => {
                metrics.set_method(false);
                metrics.set_code(status.code());
                failure_response(status)
            }
        }
    }
}
