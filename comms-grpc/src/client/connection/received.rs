//! The body of a response on a connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame};

use super::wakes::DelayableWaker;

/// The body of a response. A frame that is read makes room in the flow-control windows for as many bytes. Dropping the
/// body resets the stream, unless the exchange is complete.
#[derive(Debug)]
pub(in crate::client) struct ReceivedBody {
    stream: RecvStream,
    data_ended: bool,
    waker: DelayableWaker,
}

impl ReceivedBody {
    pub(super) const fn new(stream: RecvStream, waker: DelayableWaker) -> Self {
        Self { stream, data_ended: false, waker }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Self { stream, data_ended, waker } = self.get_mut();
        if !*data_ended {
            match ready!(waker.poll(cx, |cx| stream.poll_data(cx))) {
                Some(Ok(data)) => {
                    // Never fails, because the bytes were received.
                    let _ = stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(failure(error)),
                None => *data_ended = true,
            }
        }
        Poll::Ready(match ready!(waker.poll(cx, |cx| stream.poll_trailers(cx))) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => failure(error),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Returns the end of a body that fails with `error`. A reset with NO_ERROR follows a complete response (RFC 9113, section
/// 8.1), so it is no failure.
fn failure<T>(error: h2::Error) -> Option<Result<T, h2::Error>> {
    (error.reason() != Some(Reason::NO_ERROR)).then_some(Err(error))
}
