//! Request and response bodies whose messages are counted and limited in size.

use std::{
    pin::Pin,
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

/// Clients choose how often they ask for a response that is too large.
static TOO_LARGE_LOG: LogLimit = LogLimit::new();

/// The limits of the messages of a server, in bytes without the prefix of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageLimits {
    pub(super) request: usize,
    pub(super) response: usize,
}

impl MessageLimits {
    /// Returns the limits of `config`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit is zero.
    pub(super) fn of(config: &ServerConfig) -> Result<Self, Error> {
        let limits = Self { request: config.max_request_message, response: config.max_response_message };
        if limits.request == 0 || limits.response == 0 {
            return Err(Error::invalid(
                "gRPC server: max_request_message and max_response_message must be greater than zero",
            ));
        }
        Ok(limits)
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
    /// Records the end of a request of one message.
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
    if let Some(end) = end.filter(|_| frames.messages() == 1) {
        end.record();
    }
    Ok(())
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
    permit: Option<CallPermit>,
}

impl<B> CheckedResponse<B> {
    pub(super) const fn new(inner: B, limit: usize, permit: Option<CallPermit>) -> Self {
        Self { inner: Some(inner), frames: MessageFrames::new(limit), permit }
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
            if let Some(suppressed) = TOO_LARGE_LOG.admit(&Clock::system()) {
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
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::{collections::VecDeque, future::poll_fn};

    /// A body of the frames or errors of a client.
    struct Frames(VecDeque<Result<Frame<Bytes>, h2::Error>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = h2::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    /// Returns the number of frames that pass, and the code of the error that ends the body.
    fn read(
        frames: impl IntoIterator<Item = Result<Frame<Bytes>, h2::Error>>,
        single: bool,
    ) -> (usize, Option<Code>) {
        let mut body = CheckedRequest::new(Frames(frames.into_iter().collect()), 10, single, None);
        let mut next = || poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).now_or_never().unwrap();
        let mut passed = 0;
        loop {
            match next() {
                Some(Ok(_)) => passed += 1,
                Some(Err(status)) => {
                    assert!(next().is_none(), "the body has ended");
                    return (passed, Some(status.code()));
                }
                None => return (passed, None),
            }
        }
    }

    fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, h2::Error> {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    /// tonic takes CANCELLED for a clean end, after which a client-streaming handler would commit an incomplete upload.
    #[test]
    fn a_request_that_is_reset_does_not_end_cleanly() {
        for reason in [h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
            let (passed, code) = read([data(b"\0\0\0\0\x01a"), Err(reason.into())], false);
            assert_eq!(passed, 1);
            assert!(code.is_some_and(|code| code != Code::Cancelled), "{reason:?}: {code:?}");
        }
    }

    /// hyper ends the body of a stream that is reset with NO_ERROR, without the end of the stream.
    #[test]
    fn a_request_that_ends_before_its_stream_is_cut() {
        assert_eq!(read([data(b"\0\0\0\0\x01a")], false), (1, Some(Code::Unknown)));
    }

    #[test]
    fn trailers_end_a_request_only_between_messages() {
        let trailers = || Ok(Frame::trailers(http::HeaderMap::new()));
        assert_eq!(read([data(b"\0\0\0\0\x01a"), trailers()], true), (2, None));
        assert_eq!(read([data(b"\0\0\0\0\x02a"), trailers()], false), (1, Some(Code::Internal)));
        assert_eq!(read([trailers()], true), (0, Some(Code::Unimplemented)));
        assert_eq!(read([trailers()], false), (1, None));
    }

    #[test]
    fn the_second_message_of_a_method_of_one_is_refused_at_its_prefix() {
        let (first, second) = (b"\0\0\0\0\x01a\0\0\0\0", b"\x05");
        assert_eq!(read([data(first), data(second)], true), (1, Some(Code::Unimplemented)));
        assert_eq!(read([data(first), data(b"\x0b")], false), (1, Some(Code::ResourceExhausted)));
    }
}
