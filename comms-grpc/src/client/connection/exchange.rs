//! One request and its response on a connection.
//!
//! hyper sends a request body in a task of its own. That task does not notice the end of a call after the response
//! headers, and waits without a limit if the peer does not read the body. So the task of each body ends here with its
//! exchange.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use comms_core::clock::Clock;
use h2::Reason;
use http_body::{Body, Frame};
use hyper::rt::Executor;
use tokio::{runtime::Handle, sync::Notify};
use tonic::Status;

use super::streams::Permit;
use crate::client::request::RequestBody;

/// The state of an exchange. Its stream is in use until the last clone is dropped.
#[derive(Debug)]
pub(in crate::client) struct Exchange {
    /// Whether hyper has opened the stream and has begun to read the body.
    sent: AtomicBool,
    /// Whether hyper has dropped the body, after its end or a failure.
    body_dropped: AtomicBool,
    /// Whether the body of the caller failed, which is no failure of the peer.
    body_failed: AtomicBool,
    ended: AtomicBool,
    end: Notify,
    _permit: Permit,
}

impl Exchange {
    pub(super) fn new(permit: Permit) -> Arc<Self> {
        let [sent, body_dropped, body_failed, ended] = [const { AtomicBool::new(false) }; 4];
        Arc::new(Self { sent, body_dropped, body_failed, ended, end: Notify::new(), _permit: permit })
    }

    /// Returns the state of a request that is not sent, for tests.
    #[cfg(test)]
    pub(in crate::client) fn unsent() -> Option<Arc<Self>> {
        let streams = super::Streams::new();
        streams.set_limit(1);
        streams.try_open().map(Self::new)
    }

    /// Returns whether a part of the request may have been sent.
    pub(in crate::client) fn is_sent(&self) -> bool {
        self.sent.load(Relaxed)
    }

    /// Returns whether the body of the caller failed while it was sent.
    pub(super) fn body_failed(&self) -> bool {
        self.body_failed.load(Relaxed)
    }

    fn end(&self) {
        self.ended.store(true, Relaxed);
        self.end.notify_one();
    }
}

/// Keeps an exchange running. Dropping it ends the request: the stream of the caller's messages is dropped, and the
/// HTTP/2 stream is reset unless the request is complete.
#[derive(Debug)]
pub(in crate::client) struct ExchangeGuard(pub(super) Arc<Exchange>);

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of a request that a connection sends.
#[derive(Debug)]
pub(super) struct SentBody {
    body: RequestBody,
    exchange: Arc<Exchange>,
    /// When a body that may never end ends with its call.
    deadline: Option<(Clock, Instant)>,
}

impl SentBody {
    pub(super) fn new(body: RequestBody, exchange: Arc<Exchange>, deadline: Instant, clock: &Clock) -> Self {
        let deadline = body.is_stream().then(|| (clock.clone(), deadline));
        Self { body, exchange, deadline }
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        self.exchange.body_dropped.store(true, Relaxed);
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.exchange.ended.load(Relaxed) {
            let mut status = Status::cancelled("the call has ended");
            // The reason of the RST_STREAM that hyper sends.
            status.set_source(Arc::new(h2::Error::from(Reason::CANCEL)));
            return Poll::Ready(Some(Err(status)));
        }
        if !self.exchange.sent.swap(true, Relaxed) {
            // Outside of the driver, no task is about to be started for this body.
            let _ = STARTED
                .try_with(|started| started.replace(Some((self.exchange.clone(), self.deadline.take()))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if matches!(frame, Some(Err(_))) {
            self.exchange.body_failed.store(true, Relaxed);
        }
        Poll::Ready(frame)
    }

    /// Returns `false` before the first poll. A request without a message would otherwise be sent whole with its headers,
    /// and [`Exchange::is_sent`] would not show that it was sent.
    fn is_end_stream(&self) -> bool {
        self.exchange.is_sent() && self.body.is_end_stream()
    }
}

/// An exchange whose body was polled for the first time, and its deadline.
type Started = Option<(Arc<Exchange>, Option<(Clock, Instant)>)>;

tokio::task_local! {
    /// The newest exchange of the connection whose driver runs.
    static STARTED: RefCell<Started>;
}

/// Runs the driver of a connection, which starts the tasks of its exchanges.
pub(super) async fn drive<F: Future>(driver: F) -> F::Output {
    STARTED.scope(RefCell::default(), driver).await
}

/// Runs the tasks of a connection on the runtime of the channel, whichever runtime makes the call.
///
/// The driver polls the body of a request, and then starts a task that sends the rest of it, unless nothing is left.
#[derive(Debug, Clone)]
pub(super) struct RuntimeExecutor(pub(super) Handle);

impl<F> Executor<F> for RuntimeExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let started = STARTED.try_with(RefCell::take).ok().flatten();
        // The type of the tasks of each call has room for a whole connection. A box is cheaper than several copies of it.
        let task = Box::pin(task);
        match started.filter(|(exchange, _)| !exchange.body_dropped.load(Relaxed)) {
            Some((exchange, deadline)) => self.0.spawn(until_end(task, exchange, deadline)),
            None => self.0.spawn(task),
        };
    }
}

/// Runs the task that sends the body of an exchange until it completes or the exchange ends.
async fn until_end(
    mut task: Pin<Box<impl Future<Output = ()>>>,
    exchange: Arc<Exchange>,
    deadline: Option<(Clock, Instant)>,
) {
    let late = async {
        match deadline {
            Some((clock, deadline)) => clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = &mut task => return,
        () = exchange.end.notified() => {}
        () = late => exchange.end(),
    }
    // The body fails now, and hyper resets the stream. A task that waits for the peer to read does not poll the body:
    // the stream is then reset when the task and the response are dropped.
    let _ = futures::poll!(task);
}
