//! One request and its response on a connection.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, Release},
        },
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use comms_core::clock::Clock;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use tokio::sync::Notify;
use tonic::Status;

use super::{streams::Permit, traffic::Traffic};
use crate::{client::request::RequestBody, evidence::error_chain};

/// The state of an exchange. Its stream is in use until the last clone is dropped.
#[derive(Debug)]
pub(in crate::client) struct Exchange {
    /// The id of the stream, or 0 before h2 has the request.
    stream: AtomicU32,
    traffic: Arc<Traffic>,
    /// Whether the body of the caller failed, which is no failure of the peer.
    body_failed: AtomicBool,
    end: Notify,
    _permit: Permit,
}

impl Exchange {
    pub(super) fn new(permit: Permit, traffic: Arc<Traffic>) -> Arc<Self> {
        let (stream, body_failed) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { stream, traffic, body_failed, end: Notify::new(), _permit: permit })
    }

    /// Returns the state of a request that is not sent, for tests.
    #[cfg(test)]
    pub(in crate::client) fn unsent() -> Option<Arc<Self>> {
        let (streams, traffic) = (super::Streams::new(), Arc::new(Traffic::new(Clock::system())));
        streams.set_limit(1);
        streams.try_open().map(|permit| Self::new(permit, traffic))
    }

    /// Records that h2 has the request, which it sends on `stream`.
    pub(super) fn begin(&self, stream: u32) {
        self.stream.store(stream, Relaxed);
    }

    /// Returns whether a part of the request may have been sent.
    pub(in crate::client) fn is_sent(&self) -> bool {
        let stream = self.stream.load(Relaxed);
        stream > 0 && self.traffic.has_sent(stream)
    }

    /// Returns whether the body of the caller failed while it was sent.
    pub(super) fn body_failed(&self) -> bool {
        self.body_failed.load(Relaxed)
    }
}

/// Keeps an exchange running. Dropping it ends the request: the stream of the caller's messages is dropped, and the
/// HTTP/2 stream is reset unless the request is complete.
#[derive(Debug)]
pub(in crate::client) struct ExchangeGuard(pub(super) Arc<Exchange>);

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        self.0.end.notify_one();
    }
}

/// Sends the messages of `body` on `stream` until its end, its failure, `deadline`, or the end of the exchange.
pub(super) async fn send_body(
    body: RequestBody,
    mut stream: SendStream<Bytes>,
    exchange: Arc<Exchange>,
    deadline: Instant,
    clock: Clock,
) {
    let reason = tokio::select! {
        biased;
        result = send_messages(body, &mut stream) => match result {
            Ok(()) => return,
            Err(status) => {
                exchange.body_failed.store(true, Release);
                reset_reason(&status)
            }
        },
        () = exchange.end.notified() => Reason::CANCEL,
        // A body may never end.
        () = clock.sleep_until(deadline) => Reason::CANCEL,
    };
    stream.send_reset(reason);
}

/// Sends the messages of `body`, each when the peer permits at least a part of it.
///
/// # Errors
/// Returns the failure of `body`. The end of the stream is no error here: the response reports it.
async fn send_messages(mut body: RequestBody, stream: &mut SendStream<Bytes>) -> Result<(), Status> {
    loop {
        let message = match poll_fn(|cx| poll_message(&mut body, stream, cx)).await {
            Next::Message(message) => message,
            Next::End => {
                let _ = stream.send_data(Bytes::new(), true);
                return Ok(());
            }
            Next::Failed(status) => return Err(status),
            Next::Reset => return Ok(()),
        };
        if !message.is_empty() {
            stream.reserve_capacity(1);
        }
        while !message.is_empty() && stream.capacity() == 0 {
            if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
                return Ok(());
            }
        }
        if stream.send_data(message, false).is_err() {
            return Ok(());
        }
    }
}

/// What follows in a request.
enum Next {
    Message(Bytes),
    End,
    /// The body of the caller failed.
    Failed(Status),
    /// The stream has ended.
    Reset,
}

fn poll_message(body: &mut RequestBody, stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Next> {
    if stream.poll_reset(cx).is_ready() {
        return Poll::Ready(Next::Reset);
    }
    let frame = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
        Some(Ok(Ok(message))) => Next::Message(message),
        Some(Err(status)) => Next::Failed(status),
        // A request of gRPC has no trailers.
        Some(Ok(Err(_))) | None => Next::End,
    })
}

/// Returns the reason of the RST_STREAM for a body that failed with `status`.
fn reset_reason(status: &Status) -> Reason {
    let cause = error_chain(status).find_map(|error| error.downcast_ref::<h2::Error>()?.reason());
    cause.unwrap_or(Reason::INTERNAL_ERROR)
}
