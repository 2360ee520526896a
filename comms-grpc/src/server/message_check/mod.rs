//! Request and response bodies whose messages are counted and limited in size.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock, telemetry::LogLimit};
use http_body::{Body, Frame};
use tonic::{Code, Status};

use super::{
    config::ServerConfig,
    shed::{CallPermit, RequestEnd},
};
use crate::message_frames::MessageFrames;

/// The limits of the messages of a server, in bytes without the prefix of a message.
#[derive(Debug)]
pub(super) struct MessageLimits {
    pub(super) request: usize,
    pub(super) response: Arc<ResponseLimit>,
}

/// The limit of the response messages of a server.
#[derive(Debug)]
pub(super) struct ResponseLimit {
    bytes: usize,
    /// Clients choose how often they ask for a response that is too large.
    log: LogLimit,
    clock: Clock,
}

impl MessageLimits {
    /// Returns the limits of `config`, whose log lines are limited by `clock`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit is zero.
    pub(super) fn of(config: &ServerConfig, clock: Clock) -> Result<Self, Error> {
        let (request, bytes) = (config.max_request_message, config.max_response_message);
        if request == 0 || bytes == 0 {
            return Err(Error::invalid(
                "gRPC server: max_request_message and max_response_message must be greater than zero",
            ));
        }
        Ok(Self { request, response: Arc::new(ResponseLimit { bytes, log: LogLimit::new(), clock }) })
    }
}

/// A request body that ends with an error if a message is too large or incomplete, or if the number of messages does not
/// fit the method.
///
/// tonic returns the error as the status of the call. A unary or server-streaming method reads its whole request before
/// its handler runs.
#[pin_project::pin_project]
pub(super) struct CheckedRequest<B> {
    /// `None` after the end of the body.
    #[pin]
    inner: Option<B>,
    frames: MessageFrames,
    /// Whether the method takes exactly one message.
    single: bool,
    /// Records the end of a request of one message, and acquires the permit of such a method.
    end: Option<RequestEnd>,
}

impl<B> CheckedRequest<B> {
    pub(super) const fn new(inner: B, limit: usize, single: bool, end: Option<RequestEnd>) -> Self {
        Self { inner: Some(inner), frames: MessageFrames::new(limit), single, end }
    }
}

impl<B> Body for CheckedRequest<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let item = match ready!(inner.poll_frame(cx)) {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => this
                    .frames
                    .read(data)
                    .and_then(|()| check_count(*this.single, this.frames.messages(), false))
                    .map(|()| frame),
                None => {
                    let end = check_end(this.frames, *this.single, this.end.as_ref());
                    // Nothing follows trailers.
                    this.inner.set(None);
                    end.map(|()| frame)
                }
            },
            Some(Err(error)) => Err(reset_by_client(Status::from_error(error.into()))),
            None => {
                // hyper reports a reset with NO_ERROR as the end of the body.
                let is_whole = this.inner.as_ref().as_pin_ref().is_none_or(|inner| inner.is_end_stream());
                this.inner.set(None);
                if !is_whole {
                    return Poll::Ready(Some(Err(cut_by_client())));
                }
                return Poll::Ready(check_end(this.frames, *this.single, this.end.as_ref()).err().map(Err));
            }
        };
        if item.is_err() {
            this.inner.set(None);
        }
        Poll::Ready(Some(item))
    }

    /// Returns `false` before the end was checked.
    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }
}

fn check_end(frames: &MessageFrames, single: bool, end: Option<&RequestEnd>) -> Result<(), Status> {
    frames.end()?;
    check_count(single, frames.messages(), true)?;
    match end.filter(|_| frames.messages() == 1) {
        Some(end) => end.record(),
        None => Ok(()),
    }
}

/// Checks the number of messages of a method that takes one (gRPC status codes: UNIMPLEMENTED, "request cardinality
/// violation").
fn check_count(single: bool, messages: u64, ended: bool) -> Result<(), Status> {
    match messages {
        0 if single && ended => Err(Status::unimplemented("the method requires a request message")),
        2.. if single => Err(Status::unimplemented("the method takes one request message")),
        _ => Ok(()),
    }
}

/// Returns the status of a request stream that was cut. tonic takes CANCELLED for the clean end of a request, so UNKNOWN
/// replaces it.
fn cut_by_client() -> Status {
    Status::unknown("the request stream was reset before its end")
}

fn reset_by_client(status: Status) -> Status {
    match status.code() {
        Code::Cancelled => cut_by_client(),
        _ => status,
    }
}

/// A response body that ends with RESOURCE_EXHAUSTED before a message that is too large, and holds the permit of its
/// call.
#[pin_project::pin_project]
pub(super) struct CheckedResponse<B> {
    #[pin]
    inner: Option<B>,
    frames: MessageFrames,
    limit: Arc<ResponseLimit>,
    permit: Option<CallPermit>,
}

impl<B> CheckedResponse<B> {
    pub(super) fn new(inner: B, limit: Arc<ResponseLimit>, permit: Option<CallPermit>) -> Self {
        Self { inner: Some(inner), frames: MessageFrames::new(limit.bytes), limit, permit }
    }
}

impl<B> Body for CheckedResponse<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.poll_frame(cx)).transpose().map_err(Into::into)?;
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref)
            && let Err(status) = this.frames.read(data)
        {
            if let Some(suppressed) = this.limit.log.admit(&this.limit.clock) {
                let error = status.message();
                tracing::warn!(error, suppressed, "a response exceeds max_response_message");
            }
            this.inner.set(None);
            *this.permit = None;
            return Poll::Ready(Some(Err(status.into())));
        }
        if let Some(trailers) = frame.as_ref().and_then(Frame::trailers_ref)
            && let Some(permit) = this.permit
        {
            permit.end(trailers, this.frames.messages());
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests;
