//! The task of one HTTP/2 stream: ends a stream whose response is not read until its deadline.
//!
//! hyper does not poll a response body while the flow-control window of the peer is closed, so a body cannot end itself. The
//! task of the stream can: dropped, it resets the stream, and releases the body with all that the body holds.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use comms_core::clock::{Clock, Sleep};
use hyper::rt::Executor;

/// The time after the deadline in which a peer can read what is buffered, and then gets the status of the call.
const GRACE: Duration = Duration::from_secs(1);

thread_local! {
    /// The deadline of the stream whose task is being polled.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The extension of a response: the connection resets the HTTP/2 stream if the response has not ended a second after this
/// deadline.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct ResetAfter(pub(in crate::server) Instant);

/// Applies the [`ResetAfter`] of the response that the connection is about to send on the stream whose task is being
/// polled. Has no effect on an HTTP/1 connection.
pub(super) fn reset_after(ResetAfter(deadline): ResetAfter) {
    DEADLINE.set(Some(deadline));
}

/// Spawns the tasks of HTTP/2 streams.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor(pub(super) Clock);

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(StreamTask { stream, deadline: None, timer: None, clock: self.0.clone() });
    }
}

#[pin_project::pin_project]
struct StreamTask<F> {
    #[pin]
    stream: F,
    deadline: Option<Instant>,
    /// Made when the response has begun and has not ended, which few responses need.
    timer: Option<Pin<Box<Sleep>>>,
    clock: Clock,
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        DEADLINE.set(*this.deadline);
        let poll = this.stream.poll(cx);
        *this.deadline = DEADLINE.take();
        if poll.is_ready() {
            return Poll::Ready(());
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| {
            let left = deadline.saturating_duration_since(this.clock.now());
            Box::pin(this.clock.sleep(left.saturating_add(GRACE)))
        });
        std::task::ready!(timer.as_mut().poll(cx));
        tracing::debug!("a response that was not read until its deadline was reset");
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, sync::Arc};

    #[tokio::test]
    async fn a_stream_is_dropped_after_its_deadline_and_one_without_is_not() {
        let clock = Clock::manual(GRACE);
        let deadline = clock.now() + GRACE * 5;
        for limit in [Some(deadline), None] {
            let held = Arc::new(());
            let in_stream = held.clone();
            let stream = poll_fn(move |_| {
                if let Some(deadline) = limit {
                    reset_after(ResetAfter(deadline));
                }
                let _ = &in_stream;
                Poll::<()>::Pending
            });
            StreamExecutor(clock.clone()).execute(stream);
            let settle = async || {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                Arc::strong_count(&held)
            };
            assert_eq!(settle().await, 2);
            clock.advance(GRACE * 5);
            assert_eq!(settle().await, 2, "the peer may still read");
            clock.advance(GRACE);
            assert_eq!(settle().await, if limit.is_some() { 1 } else { 2 });
        }
    }
}
