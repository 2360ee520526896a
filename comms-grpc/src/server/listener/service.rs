//! The service of a connection, which counts its requests, and what is read and written of their bodies.

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

use super::activity::{Activity, Call};

#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(super) const fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = Answer<S>;

    fn call(&self, request: Request<Incoming>) -> Answer<S> {
        let call = Call::begin(&self.activity);
        let request = request.map(|inner| RequestBody {
            inner,
            waiting: false,
            ended: false,
            activity: self.activity.clone(),
        });
        Answer { future: Oneshot::new(self.inner.clone(), request), call: Some(call) }
    }
}

#[pin_project::pin_project]
pub(super) struct Answer<S: Service<Request<RequestBody>>> {
    #[pin]
    future: Oneshot<S, Request<RequestBody>>,
    call: Option<Call>,
}

impl<S, B> Future for Answer<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        let call = this.call.take();
        Poll::Ready(answer.map(|response| response.map(|inner| ResponseBody { inner, call })))
    }
}

/// The body of a request that a listener has received.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    /// Whether the handler waits for the next frame.
    waiting: bool,
    /// Whether the handler has seen the end.
    ended: bool,
    activity: Arc<Activity>,
}

impl RequestBody {
    fn wait(&mut self, waiting: bool) {
        match (self.waiting, waiting) {
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
        self.waiting = waiting;
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
        self.wait(poll.is_pending());
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
        self.wait(false);
        if !self.ended && !self.inner.is_end_stream() {
            self.activity.leave_unread();
        }
    }
}

#[pin_project::pin_project]
pub(super) struct ResponseBody<B> {
    #[pin]
    inner: B,
    /// `Some` for every body that a service returned.
    call: Option<Call>,
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
        let activity = this.call.as_ref().map(Call::activity);
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| Chunk::new(data, activity)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Data of a response: owed to the peer until hyper has written it, or drops it with its stream.
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
