//! The headers and the trailers of a response. The generated client returns them in one map for a call with one
//! response message, and the suite compares them one by one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use comms_grpc::Channel;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tonic::{Status, body::Body};
use tower_service::Service;

/// What was received so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
}

/// A channel that keeps the headers and trailers of its one call.
#[derive(Debug, Clone)]
pub(super) struct Capture {
    channel: Channel,
    received: Arc<Mutex<Received>>,
}

impl Capture {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, received: Arc::default() }
    }

    /// Returns what was received so far.
    pub(super) fn received(&self) -> Received {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Service<Request<Body>> for Capture {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let received = self.received.clone();
        let response = self.channel.call(request);
        response.map(|response| Ok(capture(response?, received))).boxed()
    }
}

fn capture(response: Response<Body>, received: Arc<Mutex<Received>>) -> Response<Body> {
    let keep = move |change: &dyn Fn(&mut Received)| {
        change(&mut received.lock().unwrap_or_else(PoisonError::into_inner));
    };
    keep(&|received| received.headers = response.headers().clone());
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                keep(&|received| received.trailers = trailers.clone());
            }
            frame
        }))
    })
}
