//! Runs hyper's side of a connection to its end.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use comms_core::clock::Clock;
use hyper::client::conn::http2;

use super::{
    exchange::{SentBody, drive},
    streams::Streams,
};

/// Hands requests to hyper, until the connection has ended.
///
/// A request that is queued in the instant in which the connection ends may stay in hyper's queue. hyper gives the
/// request back when the last sender is dropped, so none is kept.
pub(super) struct Sender(Mutex<Option<http2::SendRequest<SentBody>>>);

impl Sender {
    pub(super) fn new(sender: http2::SendRequest<SentBody>) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Returns a sender, or `None` after the end of the connection.
    pub(super) fn get(&self) -> Option<http2::SendRequest<SentBody>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&self) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // hyper gives requests back here, outside of the lock.
        drop(last);
    }
}

/// Drives a connection to its end. A peer that permits no call for too long gets no further one.
pub(super) async fn run(
    driver: impl Future<Output = hyper::Result<()>>,
    end: EndOnDrop,
    limit: Duration,
    clock: Clock,
) {
    let starved = async {
        end.streams.starved(limit, &clock).await;
        tracing::debug!("a connection is given up: the peer permits no call");
        end.streams.close();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = drive(driver) => {
            // The calls of the connection report its failure.
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
        () = starved => {}
    }
}

/// Wakes the calls that wait for a stream, and gives queued requests back, when the connection ends, also at the end of
/// its runtime.
pub(super) struct EndOnDrop {
    pub(super) streams: Arc<Streams>,
    pub(super) sender: Weak<Sender>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.streams.close();
        if let Some(sender) = self.sender.upgrade() {
            sender.end();
        }
    }
}
