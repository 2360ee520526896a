//! The layer around every handler: context in, deadline enforced, panic caught, duration recorded.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{
    BoxError, Error, ErrorKind,
    clock::Clock,
    context::{Context as CallContext, Deadline, Protocol},
    telemetry,
    wire::NOT_EXECUTED,
};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::Sleep;
use tonic::{Code, Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument;

use super::scoped::{ScopedBody, failed, panicked};
use crate::{
    body::{DeadlineBody, Reader},
    bound::bound,
    measure::Measure,
    status::Refusal,
    to_status,
};

/// Runs each call in its [`Context`](comms_core::context::Context): what the caller sent
/// ([`Context::of_request`](comms_core::context::Context::of_request)), and a deadline that is the earlier of its
/// `grpc-timeout` and a maximum.
///
/// - A `grpc-timeout` or an `idempotency-key` that cannot be read is INVALID_ARGUMENT: it must not become none.
/// - A deadline that has passed is DEADLINE_EXCEEDED, before the handler runs, in the middle of it (it is
///   dropped), and in the middle of a response stream. Before the handler, the response is marked as not executed.
/// - A panic is INTERNAL without a text, and the server lives.
/// - An error of a layer below that is a [`comms_core::Error`] is sent by [`to_status`](crate::to_status). An error of
///   an unknown type is INTERNAL without a text.
/// - A status message is cut to 4 KiB (6 KiB percent-encoded), also one that the handler made itself; details that do
///   not fit into 7 KiB together with it are removed.
/// - The marker of a call that was not executed ([`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED)) is sent for what
///   this layer refuses and for a status made by [`refused`](crate::refused), and is removed from all other responses.
///
/// A peer that opens a response stream and does not read it keeps what is buffered for it, because the stream is not
/// polled: [`ServerConfig::progress_timeout`](crate::ServerConfig) bounds that.
/// [`serve`](crate::serve) applies the layer; it is public for servers that are put together by hand. tonic's
/// own server has a timer for `grpc-timeout` outside of any layer that may answer CANCELLED first.
#[derive(Debug, Clone)]
pub struct ServerLayer {
    max_timeout: Duration,
    clock: Clock,
}

impl ServerLayer {
    /// A layer that lets no call run longer than `max_timeout`.
    ///
    /// # Errors
    /// `Invalid` for a maximum of zero.
    pub fn new(max_timeout: Duration, clock: Clock) -> Result<Self, Error> {
        if max_timeout.is_zero() {
            return Err(Error::invalid("max_timeout of a gRPC server: zero lets no call through"));
        }
        Ok(Self { max_timeout, clock })
    }

    fn context(&self, headers: &HeaderMap) -> Result<(CallContext, Pin<Box<Sleep>>), Status> {
        let longest = Deadline::after(self.max_timeout, &self.clock);
        let context =
            CallContext::of_request(headers, Protocol::Grpc, &self.clock).map_err(|e| to_status(&e))?;
        let context = context.with_deadline(longest);
        let Some(left) = context.deadline.and_then(|deadline| deadline.remaining(&self.clock)) else {
            return Err(Refusal::attach(
                Status::deadline_exceeded("the deadline passed before the call arrived"),
                ErrorKind::Rejected,
            ));
        };
        Ok((context, Box::pin(tokio::time::sleep(left))))
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, layer: self.clone() }
    }
}

/// A service under a [`ServerLayer`].
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

    /// Always ready: the handler's readiness is waited for within the deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let mut measure = Measure::start(telemetry::RPC_SERVER_DURATION, &self.layer.clock);
        let (context, expiry) = match self.layer.context(request.headers()) {
            Ok(both) => both,
            Err(status) => {
                measure.ended(status.code());
                return Box::pin(std::future::ready(Ok(end(status))));
            }
        };
        let inner = self.inner.clone();
        Box::pin(async move { Ok(run(inner, request, context, expiry, measure).await) })
    }
}

async fn run<S, ReqBody, ResBody>(
    mut inner: S,
    request: Request<ReqBody>,
    context: CallContext,
    mut expiry: Pin<Box<Sleep>>,
    mut measure: Measure,
) -> Response<Body>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error: Into<BoxError>>,
    ResBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let path = request.uri().path().to_owned();
    let trace_id = context.trace.map(|t| t.trace_id());
    let span = tracing::info_span!("serve", rpc.method = path.trim_start_matches('/'), trace_id);
    let handler = context.clone().scope(async {
        std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
        inner.call(request).await
    });
    let answer = tokio::select! {
        biased;
        answer = AssertUnwindSafe(handler).catch_unwind().instrument(span.clone()) => match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failed(error.into())),
            Err(panic) => Err(panicked(&*panic)),
        },
        () = &mut expiry => Err(Status::deadline_exceeded("the handler did not answer before the deadline")),
    };
    match answer {
        Ok(mut response) => {
            let refusal = response.extensions().get().and_then(Refusal::of);
            own(response.headers_mut());
            mark(response.headers_mut(), refusal);
            measure.ended_by(response.headers());
            // Routes that do not exist answer so, and their names are the peer's invention.
            if measure.code() != Some(Code::Unimplemented) {
                measure.method(&path);
            }
            response.map(|inner| {
                let scoped = ScopedBody { inner, context, span };
                Body::new(DeadlineBody::new(scoped, expiry, Reader::Peer, measure))
            })
        }
        Err(status) => {
            measure.method(&path);
            measure.ended(status.code());
            end(status)
        }
    }
}

/// The response that ends a call with `status`, marked if the status is a refusal.
fn end(status: Status) -> Response<Body> {
    let refusal = Refusal::of(&status);
    let mut response = status.into_http();
    own(response.headers_mut());
    mark(response.headers_mut(), refusal);
    response
}

/// Makes headers or trailers of a handler this server's own: bounded, and without the marker of a peer whose status the
/// handler forwards.
pub(crate) fn own(headers: &mut HeaderMap) {
    headers.remove(NOT_EXECUTED);
    bound(headers);
}

fn mark(headers: &mut HeaderMap, refusal: Option<ErrorKind>) {
    if let Some(kind) = refusal {
        headers.insert(NOT_EXECUTED, HeaderValue::from_static(kind.as_str()));
    }
}
