//! The checks of a call between the server layer and the handler: access, load shedding, message limits and replay.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock, resilience::Shedder};
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use tonic::{Status, body::Body, service::Routes};
use tower_service::Service;

use super::{
    access::Access,
    message_check::{CheckedRequest, CheckedResponse, MessageLimits, ResponseLimit},
    methods::Methods,
    replay::Replay,
    response::{UnknownMethod, failure_response},
    shed::{CallPermit, RequestEnd},
};

/// The name of the reflection service.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

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

/// The routes behind [`Guards`].
#[derive(Debug, Clone)]
pub(super) struct GuardedRoutes {
    routes: Routes,
    guards: Arc<Guards>,
}

impl GuardedRoutes {
    pub(super) fn new(routes: Routes, guards: Guards) -> Self {
        Self { routes, guards: Arc::new(guards) }
    }
}

impl<B> Service<Request<B>> for GuardedRoutes
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<CheckedResponse<Body>>;
    type Error = Infallible;
    type Future = Either<RouteCall<B>, BoxFuture<'static, Result<Self::Response, Infallible>>>;

    /// Returns ready at once, as routes do.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let guards = &self.guards;
        let (max_request, limit) = (guards.limits.request, guards.limits.response.clone());
        let single = guards.methods.is_single(request.uri().path());
        let (permit, end) = match guards.admit(&mut request, single) {
            Ok(admitted) => admitted.unzip(),
            // The status stays in the extensions, so the server layer finds the proof of a refusal.
            Err(response) => {
                let response = response.map(|body| CheckedResponse::new(body, limit, None));
                return Either::Right(Box::pin(ready(Ok(response))));
            }
        };
        let replay = guards.replay.as_ref();
        let is_replayed =
            replay.is_some_and(|replay| replay.applies(request.uri().path(), request.headers()));
        let request = request.map(|body| CheckedRequest::new(body, max_request, single, end));
        if is_replayed {
            let (guards, routes) = (guards.clone(), self.routes.clone());
            return Either::Right(Box::pin(async move {
                let response = guards.replay(routes, request.map(Body::new)).await;
                Ok(checked(response, limit, permit))
            }));
        }
        Either::Left(RouteCall { route: self.routes.call(request), limit, permit })
    }
}

/// The call of a handler, which holds the permit of the call.
#[pin_project::pin_project]
pub(super) struct RouteCall<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    #[pin]
    route: <Routes as Service<Request<CheckedRequest<B>>>>::Future,
    limit: Arc<ResponseLimit>,
    permit: Option<CallPermit>,
}

impl<B> Future for RouteCall<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<CheckedResponse<Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.route.poll(cx))?;
        Poll::Ready(Ok(checked(response, this.limit.clone(), this.permit.take())))
    }
}

/// Limits the messages of `response`, which holds the permit of its call until it ends.
fn checked(
    response: Response<Body>,
    limit: Arc<ResponseLimit>,
    mut permit: Option<CallPermit>,
) -> Response<CheckedResponse<Body>> {
    if let Some(permit) = &mut permit {
        permit.respond(response.headers(), response.extensions());
    }
    response.map(|body| CheckedResponse::new(body, limit, permit))
}

impl Guards {
    /// Returns the permit of a call if load is shed, or the response that refuses the call. `single`: the method takes one
    /// message.
    fn admit<B>(
        &self,
        request: &mut Request<B>,
        single: bool,
    ) -> Result<Option<(CallPermit, RequestEnd)>, Box<Response<Body>>> {
        if let Some(access) = &self.access {
            let mut extensions = std::mem::take(request.extensions_mut());
            let path = request.uri().path();
            access
                .check(path, request.headers(), &mut extensions, &self.clock)
                .map_err(|status| refusal(status, access.names(path)))?;
            *request.extensions_mut() = extensions;
        }
        let permit = self.shedder.as_ref().map(|shedder| CallPermit::admit(shedder, single, &self.clock));
        // The route is not known to exist.
        permit.transpose().map_err(|status| refusal(status, false))
    }

    /// Executes the call once, or returns the stored response.
    async fn replay(&self, mut routes: Routes, request: Request<Body>) -> Response<Body> {
        let response = match &self.replay {
            Some(replay) => replay.run(routes, request, &self.clock).await,
            None => routes.call(request).await.map_err(|never| match never {}),
        };
        response.unwrap_or_else(failure_response)
    }
}

/// Returns the response of a call that is refused before the route is looked up. The path of a method that is not known is
/// no label, because a peer can send any path.
fn refusal(status: Status, is_known: bool) -> Box<Response<Body>> {
    let mut response = failure_response(status);
    if !is_known {
        response.extensions_mut().insert(UnknownMethod);
    }
    Box::new(response)
}

/// Checks that the services of rules and of the replay are served: a misspelt name would protect nothing.
pub(super) fn check_served(
    access: Option<&Access>,
    replay: Option<&Replay>,
    served: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let access = access.into_iter().flat_map(Access::services);
    let mut named = access.chain(replay.into_iter().flat_map(Replay::services));
    match named.find(|service| *service != REFLECTION && !served(service)) {
        None => Ok(()),
        Some(service) => Err(Error::invalid(format!(
            "gRPC server: a rule or a replay names the service {service}, which is not served: add it with add_service, or \
             name it with service_names"
        ))),
    }
}
