//! The socket of a connection, which notes what is read and whether writes are accepted.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{activity::Activity, preface::Preface, room::Slot};

/// Holds the connection's slot until the descriptor is closed, also after an upgrade.
pub(super) struct Socket {
    stream: TcpStream,
    preface: Preface,
    blocked: bool,
    /// Whether the sending side is closed.
    shut: bool,
    activity: Arc<Activity>,
    _slot: Slot,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, slot: Slot, activity: Arc<Activity>) -> Self {
        Self { stream, preface: Preface::Version(0), blocked: false, shut: false, activity, _slot: slot }
    }

    fn wrote(&mut self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let writes = &self.activity.writes;
        match (poll.is_pending(), self.blocked) {
            (true, false) => _ = writes.begin(),
            (false, true) => writes.end(),
            (true, true) | (false, false) => {}
        }
        self.blocked = poll.is_pending();
        poll
    }

    /// Reads and drops what the peer sends, until it closes. The limits of the connection end it earlier.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [std::mem::MaybeUninit::uninit(); 4 * 1024];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes));
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
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.receive();
        }
        if !self.preface.is_known() && poll.is_ready() {
            self.preface = self.preface.read(&buf.filled()[before..]);
            if self.preface == Preface::Http2 {
                self.activity.complete_handshake();
            }
        }
        poll
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes in two steps if a part of a request was not read (RFC 9112, section 9.6): a socket that is closed with unread
    /// bytes is reset, and the peer may lose the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
            self.activity.linger();
        }
        match self.activity.lingers() {
            true => self.discard(cx),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.activity.is_reset() {
            // Best effort: otherwise the kernel keeps its buffer until its own time-out.
            let _ = self.stream.set_zero_linger();
        }
    }
}
