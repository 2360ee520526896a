//! One HTTP/2 connection.
//!
//! A connection is ready once the peer has sent its settings (RFC 9113, section 3.4). A peer that accepts the socket
//! and stays silent therefore fails the connection attempt, and no call is sent to it.

mod first_bytes;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use comms_core::BoxError;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};

use self::first_bytes::FirstBytes;
use super::{
    keep_alive::{KeepAlive, LONGEST},
    request::RequestBody,
};

/// The maximum size of response headers or trailers in bytes: room for a status message of 256 KiB, percent-encoded in
/// full. Above hyper's default of 16 KiB, the call would lose its status, and other calls on the connection would fail.
const HEADER_LIST: u32 = 1024 * 1024;

/// The bytes of one response, and of all responses of a connection, that no caller has read. Responses that are not read
/// leave room for others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// A connection. Clones send on the same connection.
///
/// The connection takes no further call after a GOAWAY of the peer, and ends when its streams have ended.
#[derive(Clone)]
pub(super) struct Connection {
    sender: http2::SendRequest<RequestBody>,
    answered: Arc<AtomicBool>,
    pub(super) opened: Instant,
}

/// A request that was not answered, and the request itself if hyper had not started to send it.
pub(super) type Unanswered = TrySendError<Request<RequestBody>>;

impl Connection {
    /// Speaks HTTP/2 over `io`, and waits for the settings of the peer. The tasks of the connection run on `runtime`.
    /// `opened` is the time of the attempt.
    pub(super) async fn open<T>(
        io: T,
        keep_alive: KeepAlive,
        runtime: &Handle,
        opened: Instant,
    ) -> Result<Self, BoxError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (io, peer_spoke) = FirstBytes::new(io);
        let (sender, driver) = http2::Builder::new(RuntimeExecutor(runtime.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive.interval.min(LONGEST))
            .keep_alive_timeout(keep_alive.timeout.min(LONGEST))
            .keep_alive_while_idle(false)
            .max_header_list_size(HEADER_LIST)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(io))
            .await?;
        runtime.spawn(async move {
            // The calls of the connection report its failure.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        peer_spoke.await.map_err(|_| "the peer closed the connection before its HTTP/2 settings")??;
        Ok(Self { sender, answered: Arc::default(), opened })
    }

    /// Returns whether the connection takes no further call.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns whether the peer has answered a call on this connection.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// Sends `request` and waits for the response headers.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let response = self.sender.try_send_request(request).await?;
        self.answered.store(true, Relaxed);
        Ok(response)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// Runs the tasks of a connection on the runtime of the channel, whichever runtime makes the call.
#[derive(Clone)]
struct RuntimeExecutor(Handle);

impl<F> Executor<F> for RuntimeExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        // The type of the tasks of each call has room for a whole connection. A box is cheaper than several copies of it.
        self.0.spawn(Box::pin(future));
    }
}

#[cfg(test)]
mod tests;
