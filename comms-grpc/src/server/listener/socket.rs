//! The socket of a connection: records blocked writes, and closes with a lingering close.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use scopeguard::ScopeGuard;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{activity::Activity, connection_limits::ConnectionPermit};

/// A socket that records the blocked writes of its connection.
///
/// The socket holds the permit of the connection until the descriptor is closed, also after an upgrade.
pub(super) struct Socket {
    /// Closed by [`close`] when the socket is dropped. A guard, because the stream can be taken out of it.
    open: ScopeGuard<Open, fn(Open)>,
    /// Whether the kernel did not accept the last write.
    blocked: bool,
    /// Whether the sending side is closed.
    write_closed: bool,
    permit: ConnectionPermit,
}

/// An open descriptor, and the record of its connection.
struct Open {
    stream: TcpStream,
    activity: Arc<Activity>,
}

/// Closes the descriptor, with a reset if the watchdog has requested one.
fn close(open: Open) {
    if open.activity.is_reset_requested() {
        // Best effort. Without the reset, the kernel keeps the send buffer until the TCP timeout.
        let _ = open.stream.set_zero_linger();
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream, permit: ConnectionPermit, activity: Arc<Activity>) -> Self {
        let open = ScopeGuard::with_strategy(Open { stream, activity }, close as fn(Open));
        Self { open, blocked: false, write_closed: false, permit }
    }

    /// Returns the stream, which nothing observes any more, and the permit of the connection.
    pub(super) fn into_parts(self) -> (TcpStream, ConnectionPermit) {
        (ScopeGuard::into_inner(self.open).stream, self.permit)
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.open.stream)
    }

    /// Records the result of a write, and returns it.
    fn record_write(&mut self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let writes = &self.open.activity.blocked_writes;
        match (poll.is_pending(), self.blocked) {
            (true, false) => _ = writes.begin(),
            (false, true) => writes.end(),
            (true, true) | (false, false) => {}
        }
        self.blocked = poll.is_pending();
        poll
    }

    /// Closes the sending side, and discards what the peer sends until the peer closes. The caller limits the time.
    ///
    /// A refused handshake ends so: the kernel resets a socket that is closed with unread bytes, and the peer may then
    /// lose the alert.
    #[cfg(feature = "tls")]
    pub(super) async fn linger(mut self) {
        let closed = std::future::poll_fn(|cx| self.stream().poll_shutdown(cx)).await;
        if closed.is_ok() {
            let _ = std::future::poll_fn(|cx| self.discard(cx)).await;
        }
    }

    /// Reads and discards what the peer sends until the peer closes. The watchdog limits the time.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [std::mem::MaybeUninit::uninit(); 4 * 1024];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            let read = ready!(self.stream().poll_read(cx, &mut bytes));
            if read.is_err() || bytes.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = self.stream().poll_write(cx, buf);
        self.record_write(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = self.stream().poll_write_vectored(cx, bufs);
        self.record_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.open.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    /// Closes the socket with a lingering close if a part of a request was not read (RFC 9112, section 9.6), and a socket
    /// of HTTP/2, whose peer may send until it has received the GOAWAY. The kernel
    /// resets a socket that is closed with unread bytes, and the peer may then lose the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_closed {
            ready!(self.stream().poll_shutdown(cx))?;
            self.write_closed = true;
            self.open.activity.close_writes();
        }
        match self.open.activity.is_lingering() {
            true => self.discard(cx),
            false => Poll::Ready(Ok(())),
        }
    }
}
