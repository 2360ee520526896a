//! Trailers of a successful call. tonic sends the metadata of a handler's response as headers only, so the handler
//! leaves the trailers in the extensions of its response.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tonic::{body::Body, server::NamedService};
use tower_service::Service;

/// The trailers that a handler adds to its response.
#[derive(Clone, Default)]
pub(super) struct Trailers(pub(super) HeaderMap);

/// Adds the [`Trailers`] of a response to the trailers of its body.
#[derive(Clone)]
pub(super) struct WithTrailers<S>(pub(super) S);

impl<S: NamedService> NamedService for WithTrailers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for WithTrailers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { response.await.map(add_trailers) })
    }
}

fn add_trailers(mut response: Response<Body>) -> Response<Body> {
    let Some(Trailers(added)) = response.extensions_mut().remove() else { return response };
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.extend(added.clone());
            }
            frame
        }))
    })
}
