//! A response body that ends when the deadline does.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
#[cfg(feature = "server")]
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tonic::{Code, Status};

use crate::measure::Measure;

/// How a failure is told to the reader of the body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tell {
    /// As the body's error: tonic's client shows it as the call's status.
    Error,
    /// As trailers: what the peer of a server reads.
    #[cfg(feature = "server")]
    Trailers,
}

/// Passes frames through until the end, an error, or the deadline; then drops the inner body, and with
/// it the stream or the handler behind it.
#[pin_project::pin_project]
pub(crate) struct DeadlineBody<B> {
    #[pin]
    inner: Option<B>,
    expiry: Pin<Box<Sleep>>,
    tell: Tell,
    measure: Measure,
}

impl<B> DeadlineBody<B> {
    pub(crate) fn new(inner: B, expiry: Pin<Box<Sleep>>, tell: Tell, measure: Measure) -> Self {
        Self { inner: Some(inner), expiry, tell, measure }
    }
}

impl<B: Body<Data = Bytes, Error = Status>> Body for DeadlineBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // Before the frames: a stream that always has one ready must end as well.
        let status = if this.expiry.as_mut().poll(cx).is_ready() {
            Status::deadline_exceeded("the deadline passed while the response was streamed")
        } else {
            match std::task::ready!(inner.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        this.measure.ended_by(trailers);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(status)) => broken(status),
                None => {
                    this.measure.ended_without_trailers();
                    this.inner.set(None);
                    return Poll::Ready(None);
                }
            }
        };
        this.inner.set(None);
        this.measure.ended(status.code());
        Poll::Ready(told(*this.tell, status))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

fn told(tell: Tell, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
    match tell {
        Tell::Error => Some(Err(status)),
        #[cfg(feature = "server")]
        Tell::Trailers => {
            let mut trailers = HeaderMap::new();
            Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
        }
    }
}

/// A peer says UNAVAILABLE in trailers; as an error of the body it is a connection lost in the middle of
/// the call, which may have been done.
fn broken(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => Status::unknown(status.message()),
        _ => status,
    }
}
