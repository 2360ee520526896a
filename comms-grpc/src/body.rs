//! A response body that ends at the deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tonic::{Code, Status};

use crate::{client::reported, measure::Measure};

/// The side of the call that reads the body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    /// tonic's client: a failure is the body's error, which it returns as the call's status.
    Client { forwards_credentials: bool },
    /// The peer of a server: a failure is sent as trailers.
    #[cfg(feature = "server")]
    Peer,
}

/// Passes frames through until the end, an error, or the deadline; then drops the inner body, and with
/// it the stream or the handler behind it.
#[pin_project::pin_project]
pub(crate) struct DeadlineBody<B> {
    #[pin]
    inner: Option<B>,
    expiry: Pin<Box<Sleep>>,
    reader: Reader,
    measure: Measure,
}

impl<B> DeadlineBody<B> {
    pub(crate) fn new(inner: B, expiry: Pin<Box<Sleep>>, reader: Reader, measure: Measure) -> Self {
        Self { inner: Some(inner), expiry, reader, measure }
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
                Some(Ok(mut frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        this.measure.ended_by(trailers);
                        if let Some(status) = this.reader.take(trailers) {
                            this.inner.set(None);
                            return Poll::Ready(Some(Err(status)));
                        }
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
        Poll::Ready(this.reader.give(status))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Reader {
    /// The failure in `trailers`, where the reader gets it as an error. Trailers that stay are bounded, and without a
    /// proof that the handler did not run: it has.
    fn take(self, trailers: &mut HeaderMap) -> Option<Status> {
        match self {
            Self::Client { forwards_credentials } => reported(trailers, forwards_credentials),
            #[cfg(feature = "server")]
            Self::Peer => {
                crate::server::own(trailers);
                None
            }
        }
    }

    fn give(self, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        match self {
            Self::Client { .. } => Some(Err(status)),
            #[cfg(feature = "server")]
            Self::Peer => {
                let mut trailers = HeaderMap::new();
                let added = status.add_header(&mut trailers);
                crate::server::own(&mut trailers);
                Some(added.map(|()| Frame::trailers(trailers)))
            }
        }
    }
}

/// The connection failed in the middle of the response. UNAVAILABLE, which tonic makes of that, is what servers send
/// for calls that they refuse.
fn broken(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => Status::unknown(status.message()),
        _ => status,
    }
}
