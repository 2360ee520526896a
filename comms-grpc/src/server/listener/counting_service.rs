//! The service of a connection: counts its requests, and the progress of their bodies.

use std::{
    future::Future,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::util::Oneshot;
use tower_service::Service;

use super::{
    activity::{Activity, RequestGuard},
    stream_task::reset_after,
};

/// A service that records the activity of its connection.
#[derive(Clone)]
pub(super) struct CountingService<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> CountingService<S> {
    pub(super) const fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for CountingService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture<S> {
        let guard = RequestGuard::begin(&self.activity);
        let request = request.map(|inner| RequestBody {
            inner,
            pending: false,
            ended: false,
            activity: self.activity.clone(),
        });
        ResponseFuture { future: Oneshot::new(self.inner.clone(), request), guard: Some(guard) }
    }
}

#[pin_project::pin_project]
pub(super) struct ResponseFuture<S: Service<Request<RequestBody>>> {
    #[pin]
    future: Oneshot<S, Request<RequestBody>>,
    guard: Option<RequestGuard>,
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let guard = this.guard.take();
        let deadline = result.as_ref().ok().and_then(|response| response.extensions().get());
        if let Some(deadline) = deadline {
            reset_after(*deadline);
        }
        Poll::Ready(result.map(|response| response.map(|inner| ResponseBody { inner, guard })))
    }
}

/// The body of a request on a connection of [`listen`](crate::listen).
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    /// Whether the handler waits for the next frame.
    pending: bool,
    /// Whether the handler has read the end.
    ended: bool,
    activity: Arc<Activity>,
}

impl RequestBody {
    fn set_pending(&mut self, pending: bool) {
        match (self.pending, pending) {
            (false, true) => {
                self.activity.uploads.begin();
                self.activity.wake();
            }
            (true, false) => {
                self.activity.uploads.step();
                self.activity.uploads.end();
            }
            (true, true) | (false, false) => {}
        }
        self.pending = pending;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let poll = Pin::new(&mut self.inner).poll_frame(cx);
        self.set_pending(poll.is_pending());
        self.ended |= matches!(poll, Poll::Ready(None));
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.set_pending(false);
        if !self.ended && !self.inner.is_end_stream() {
            self.activity.leave_unread();
        }
    }
}

/// The body of a response, which counts its chunks and ends the request when it is dropped.
#[pin_project::pin_project]
pub(super) struct ResponseBody<B> {
    #[pin]
    inner: B,
    /// `Some` for every body that a service returned.
    guard: Option<RequestGuard>,
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Chunk<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        let activity = this.guard.as_ref().map(RequestGuard::activity);
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| Chunk::new(data, activity)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A chunk of response data, counted as unwritten until hyper has written it or drops it with its stream.
pub(super) struct Chunk<D> {
    data: D,
    activity: Option<Arc<Activity>>,
}

impl<D> Chunk<D> {
    fn new(data: D, activity: Option<&Arc<Activity>>) -> Self {
        if let Some(activity) = activity
            && activity.chunks.begin()
        {
            activity.wake();
        }
        Self { data, activity: activity.cloned() }
    }
}

impl<D: Buf> Buf for Chunk<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(into)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        if let Some(activity) = &self.activity {
            activity.chunks.step();
        }
    }
}

impl<D> Drop for Chunk<D> {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.chunks.end();
        }
    }
}
