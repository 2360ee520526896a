//! The streams of a connection: at most as many calls as the peer permits, the others wait in their order.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Duration,
};

use comms_core::clock::Clock;
use tokio::sync::{Semaphore, watch};

/// The streams of one connection.
///
/// h2 queues requests beyond SETTINGS_MAX_CONCURRENT_STREAMS without a bound. A request is therefore handed to h2 only with
/// a permit.
#[derive(Debug)]
pub(super) struct Streams {
    free: Semaphore,
    /// The maximum number of streams. The peer may change it at any time (RFC 9113, section 5.1.2).
    limit: watch::Sender<usize>,
    /// The streams in use above a limit that was lowered. They become no free streams when they end.
    excess: AtomicUsize,
}

/// A stream in use, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Streams>);

impl Streams {
    /// Returns the streams of a connection whose peer has not sent its settings: none.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(0), limit: watch::Sender::new(0), excess: AtomicUsize::new(0) })
    }

    /// Sets the maximum number of streams. Called by the reader of the connection alone.
    pub(super) fn set_limit(&self, limit: usize) {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let before = self.limit.send_replace(limit);
        if let Some(removed) = before.checked_sub(limit) {
            let in_use = removed - self.free.forget_permits(removed);
            self.excess.fetch_add(in_use, AcqRel);
            return;
        }
        let added = limit - before;
        let settled = self.excess.fetch_update(AcqRel, Acquire, |excess| Some(excess.saturating_sub(added)));
        self.free.add_permits(added - settled.unwrap_or_default().min(added));
    }

    /// Returns the maximum number of streams.
    pub(super) fn limit(&self) -> usize {
        *self.limit.borrow()
    }

    /// Returns whether a call uses a stream.
    pub(super) fn is_in_use(&self) -> bool {
        self.free.available_permits() < self.limit() || self.excess.load(Relaxed) > 0
    }

    /// Returns a free stream, or `None` if all are in use, other calls wait, or the connection takes no further call.
    pub(super) fn try_open(self: &Arc<Self>) -> Option<Permit> {
        self.free.try_acquire().ok()?.forget();
        Some(Permit(self.clone()))
    }

    /// Waits for a free stream, in the order of the calls. Returns `None` if the connection takes no further call.
    pub(super) async fn open(self: &Arc<Self>) -> Option<Permit> {
        self.free.acquire().await.ok()?.forget();
        Some(Permit(self.clone()))
    }

    /// Ends the use of the connection for further calls. Streams in use are not affected.
    pub(super) fn close(&self) {
        self.free.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.free.is_closed()
    }

    /// Resolves when the peer has permitted no stream for the time `limit`.
    pub(super) async fn starved(&self, limit: Duration, clock: &Clock) {
        let mut changes = self.limit.subscribe();
        loop {
            // Never fails, because `self` has the sender.
            let _ = changes.wait_for(|streams| *streams == 0).await;
            let granted = pin!(changes.wait_for(|streams| *streams > 0));
            if clock.timeout(limit, granted).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let streams = &self.0;
        let is_excess = streams.excess.load(Relaxed) > 0
            && streams.excess.fetch_update(AcqRel, Acquire, |excess| excess.checked_sub(1)).is_ok();
        if !is_excess {
            streams.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn with_limit(limit: usize) -> Arc<Streams> {
        let streams = Streams::new();
        streams.set_limit(limit);
        streams
    }

    #[test]
    fn no_stream_is_free_before_the_settings_of_the_peer() {
        let streams = Streams::new();
        assert!(streams.try_open().is_none());
        streams.set_limit(usize::MAX);
        assert!(streams.try_open().is_some());
    }

    #[test]
    fn a_lowered_limit_is_reached_when_streams_end() {
        let streams = with_limit(4);
        let mut used: Vec<_> = (0..3).map(|_| streams.try_open().unwrap()).collect();
        streams.set_limit(1);
        for _ in 0..3 {
            assert!(streams.try_open().is_none());
            used.pop();
        }
        let only = streams.try_open().unwrap();
        assert!(streams.try_open().is_none());
        // A limit that is raised before the excess has ended counts the streams in use.
        streams.set_limit(3);
        let more = [streams.try_open().unwrap(), streams.try_open().unwrap()];
        streams.set_limit(0);
        streams.set_limit(2);
        drop(only);
        assert!(streams.try_open().is_none());
        drop(more);
        let _two = [streams.try_open().unwrap(), streams.try_open().unwrap()];
        assert!(streams.try_open().is_none());
    }

    #[test]
    fn calls_get_free_streams_in_their_order() {
        let streams = with_limit(1);
        let used = streams.try_open().unwrap();
        let (mut first, mut second) = (Box::pin(streams.open()), Box::pin(streams.open()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(used);
        assert!(streams.try_open().is_none(), "the stream belongs to the first call that waits");
        assert!(second.as_mut().now_or_never().is_none());
        // A call that gives up passes its stream on.
        drop(first);
        assert!(second.now_or_never().flatten().is_some());
    }

    #[test]
    fn a_closed_connection_wakes_the_calls_that_wait() {
        let streams = with_limit(1);
        let _used = streams.try_open().unwrap();
        let mut waiting = Box::pin(streams.open());
        assert!(waiting.as_mut().now_or_never().is_none());
        streams.close();
        assert!(waiting.now_or_never().unwrap().is_none());
        assert!(streams.is_closed() && streams.try_open().is_none());
    }

    #[tokio::test]
    async fn a_peer_starves_a_connection_by_a_limit_of_zero_that_lasts() {
        let (streams, clock) = (with_limit(1), Clock::manual(Duration::ZERO));
        let second = Duration::from_secs(1);
        let mut starved = Box::pin(streams.starved(second * 2, &clock));
        let mut after = |seconds: u32| {
            let pending = starved.as_mut().now_or_never().is_none();
            clock.advance(second * seconds);
            pending
        };
        assert!(after(10));
        streams.set_limit(0);
        assert!(after(1));
        streams.set_limit(5);
        assert!(after(10), "the limit was raised in time");
        streams.set_limit(0);
        assert!(after(2));
        assert!(starved.now_or_never().is_some());
    }
}
