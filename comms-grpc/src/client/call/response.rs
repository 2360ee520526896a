//! A response body that ends at the deadline of its call.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use crate::{
    client::{
        answer::{HeadStatus, reported},
        attempt::Running,
        connection::ReceivedBody,
        failure::of_body,
        methods::CallMeter,
    },
    deadline_timer::DeadlineTimer,
    message_frames::MessageFrames,
};

/// Passes the frames of a response body through until its end, an error, or the deadline. A failure in the middle of a
/// response is an error of the body, which the generated client returns as the status of the call.
///
/// The inner body is then dropped, which ends the HTTP/2 stream and a request that is still sent, and the call is no longer
/// in flight.
pub(super) struct ResponseBody {
    inner: Option<(ReceivedBody, Running)>,
    frames: MessageFrames,
    /// The status in the head of a response whose head does not end the stream. It counts if nothing follows.
    head: Option<HeadStatus>,
    timer: DeadlineTimer,
    meter: CallMeter,
    forwards_credentials: bool,
}

impl ResponseBody {
    pub(super) fn new(
        inner: ReceivedBody,
        running: Running,
        head: Option<HeadStatus>,
        timer: DeadlineTimer,
        meter: CallMeter,
        forwards_credentials: bool,
    ) -> Self {
        Self {
            inner: Some((inner, running)),
            // The generated client limits the size of a message.
            frames: MessageFrames::new(usize::MAX),
            head,
            timer,
            meter,
            forwards_credentials,
        }
    }

    /// Sets the longest message in bytes.
    pub(super) fn with_limit(self, limit: Option<usize>) -> Self {
        Self { frames: MessageFrames::new(limit.unwrap_or(usize::MAX)), ..self }
    }

    /// Returns the next frame of the inner body, or the failure that ends the body.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((inner, _)) = &mut self.inner else { return Poll::Ready(None) };
        // The deadline is checked first, because a stream that always has a frame ready must end as well.
        if self.timer.has_passed() {
            return Poll::Ready(Some(Err(late())));
        }
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return self.timer.poll(cx).map(|()| Some(Err(late()))),
        };
        let frame = frame.or_else(|| self.head.take().map(|HeadStatus(status)| Ok(Frame::trailers(status))));
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame.map_err(|error| of_body(&error, self.timer.has_passed()))?;
            if let Some(data) = frame.data_ref() {
                self.head = self.head.take().filter(|_| data.is_empty());
                self.frames.read(data)?;
            }
            if let Some(trailers) = frame.trailers_mut() {
                self.head = None;
                self.meter.set_code_from(trailers);
                if let Some(status) = reported(trailers, self.forwards_credentials) {
                    return Err(status);
                }
                self.frames.end()?;
            }
            Ok(frame)
        }))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(self.poll_inner(cx));
        match &frame {
            // The generated client may keep the body after the trailers, and polls it no more.
            Some(Ok(frame)) if frame.is_trailers() => self.inner = None,
            Some(Ok(_)) => {}
            Some(Err(status)) => {
                self.meter.set_code(status.code());
                self.inner = None;
            }
            None => {
                self.meter.end_of_stream();
                self.inner = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.inner.as_ref().is_none_or(|(inner, _)| inner.is_end_stream())
    }
}

fn late() -> Status {
    Status::deadline_exceeded("the deadline passed while the response was streamed")
}
