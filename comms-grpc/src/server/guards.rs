//! The checks of a call between the server layer and the handler: access, load shedding, message limits and replay.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::{BoxError, clock::Clock, resilience::Shedder};
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    access::Access,
    context_body::status_of_error,
    message_check::{CheckedRequest, CheckedResponse, MessageLimits},
    methods::Methods,
    replay::Replay,
    response::{UnknownMethod, failure_response},
    shed::CallPermit,
};

/// The checks of all calls of a server.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) limits: MessageLimits,
    pub(super) methods: Methods,
    pub(super) access: Option<Access>,
    pub(super) shedder: Option<Shedder>,
    pub(super) replay: Option<Replay>,
    pub(super) clock: Clock,
}

/// The layer that puts [`Guards`] around a service.
#[derive(Debug, Clone)]
pub(super) struct GuardLayer(Arc<Guards>);

impl GuardLayer {
    pub(super) fn new(guards: Guards) -> Self {
        Self(Arc::new(guards))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardedService<S>;

    fn layer(&self, inner: S) -> GuardedService<S> {
        GuardedService { inner, guards: self.0.clone() }
    }
}

/// A service behind [`Guards`].
#[derive(Debug, Clone)]
pub(super) struct GuardedService<S> {
    inner: S,
    guards: Arc<Guards>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GuardedService<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    ReqBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    ResBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// Returns ready at once. [`ServerLayer`](super::ServerLayer) waits within the deadline of the call instead.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (guards, inner) = (self.guards.clone(), self.inner.clone());
        Box::pin(async move {
            // The status stays in the extensions, so the server layer finds the proof of a refusal.
            Ok(guards.call(inner, request).await.unwrap_or_else(failure_response))
        })
    }
}

impl Guards {
    async fn call<S, ReqBody, ResBody>(
        &self,
        mut inner: S,
        mut request: Request<ReqBody>,
    ) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<ResBody>, Error: Into<BoxError>>,
        ReqBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        ResBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(access) = &self.access {
            let mut extensions = std::mem::take(request.extensions_mut());
            let path = request.uri().path();
            if let Err(status) = access.check(path, request.headers(), &mut extensions, &self.clock) {
                return Ok(refusal(status, access.names(path)));
            }
            *request.extensions_mut() = extensions;
        }
        let shedder = self.shedder.as_ref();
        let mut permit = match shedder.map(|shedder| CallPermit::acquire(shedder, &self.clock)).transpose() {
            Ok(permit) => permit,
            // The route is not known to exist.
            Err(status) => return Ok(refusal(status, false)),
        };
        std::future::poll_fn(|cx| inner.poll_ready(cx))
            .await
            .map_err(|error| status_of_error(error.into()))?;
        let path = request.uri().path();
        let single = self.methods.is_single(path);
        let replay = self.replay.as_ref().filter(|replay| replay.applies(path, request.headers()));
        let end = permit.as_ref().map(CallPermit::request_end);
        let request =
            request.map(|body| Body::new(CheckedRequest::new(body, self.limits.request, single, end)));
        let response = match replay {
            Some(replay) => replay.run(inner, request).await?,
            None => match inner.call(request).await {
                Ok(response) => response.map(Body::new),
                Err(error) => return Err(status_of_error(error.into())),
            },
        };
        if let Some(permit) = &mut permit {
            permit.respond(response.headers(), response.extensions());
        }
        Ok(response.map(|body| Body::new(CheckedResponse::new(body, self.limits.response, permit))))
    }
}

/// Returns the response of a call that is refused before the route is looked up. The path of a method that is not known is
/// no label, because a peer can send any path.
fn refusal(status: Status, is_known: bool) -> Response<Body> {
    let mut response = failure_response(status);
    if !is_known {
        response.extensions_mut().insert(UnknownMethod);
    }
    response
}
