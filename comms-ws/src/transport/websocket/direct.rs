//! A WebSocket session on a bare TCP socket. The flushers write to the socket; this task reads from it, writes what the
//! socket did not take at once, and runs the close handshake.

use std::{cell::RefCell, future::poll_fn, io, net::Shutdown};

use tokio::{io::Interest, net::TcpStream};

use super::{
    End,
    incoming::{answer, decode},
};
use crate::{
    connection::{Connection, Duty},
    session::Link,
    websocket::decoder::{Decoder, Received},
};

/// The size of a reading in bytes.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// The buffer that all sessions of a thread read into, so that an idle session has none.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Runs the session. `first` is what the client has sent after its handshake.
#[allow(clippy::manual_async_fn, reason = "the future of an async fn has room for each argument twice")]
pub(super) fn run(mut link: Link, mut decoder: Decoder, first: Vec<u8>) -> impl Future<Output = ()> + Send {
    async move {
        let connection = link.connection.clone();
        let Some(socket) = connection.socket() else { return };
        let end = match Box::pin(begin(&mut link, &mut decoder, first)).await {
            None => exchange(&mut link, &connection, socket, &mut decoder).await,
            Some(end) => end,
        };
        // Leave the topics before the close handshake, so that no further message is queued.
        link.leave_all();
        link.note_end(end.close());
        Box::pin(close(&link, socket, end)).await;
    }
}

/// Handles what the client has sent after its handshake.
async fn begin(link: &mut Link, decoder: &mut Decoder, first: Vec<u8>) -> Option<End> {
    let (frames, end) = decode(link, decoder, &first);
    finish(link, frames, end).await
}

/// Reads and writes until the session ends.
async fn exchange(
    link: &mut Link,
    connection: &Connection,
    socket: &TcpStream,
    decoder: &mut Decoder,
) -> End {
    let mut waits = false;
    loop {
        let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        tokio::select! {
            ready = socket.ready(interest) => {
                let Ok(ready) = ready else { return End::Gone };
                if ready.is_writable() && waits {
                    match flush(link, socket) {
                        Ok(done) => waits = !done,
                        Err(_) => return End::Gone,
                    }
                }
                let (frames, end) = if ready.is_readable() { read(link, socket, decoder) } else { (Vec::new(), None) };
                let end = if frames.is_empty() { end } else { Box::pin(finish(link, frames, end)).await };
                if let Some(end) = end {
                    return end;
                }
            }
            () = poll_fn(|cx| connection.poll_attention(cx)) => match connection.duty() {
                Duty::Close(close) => return End::Close(close),
                Duty::Gone => return End::Gone,
                Duty::Write => waits = true,
                Duty::Idle => waits = false,
            },
        }
    }
}

/// Answers `frames`, and returns the end, if there is one.
///
/// Callers put it on the heap: the future is large, and most of the time there is none.
async fn finish(link: &mut Link, frames: Vec<Received>, end: Option<End>) -> Option<End> {
    answer(link, frames).await.err().or(end)
}

/// Reads once, without waiting.
fn read(link: &mut Link, socket: &TcpStream, decoder: &mut Decoder) -> (Vec<Received>, Option<End>) {
    BUFFER.with_borrow_mut(|buffer| match socket.try_read(buffer) {
        Ok(0) => (Vec::new(), Some(End::Gone)),
        Ok(read) => decode(link, decoder, &buffer[..read]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Vec::new(), None),
        Err(_) => (Vec::new(), Some(End::Gone)),
    })
}

/// Writes what is queued, as far as the socket takes it. Returns whether nothing is left.
fn flush(link: &Link, socket: &TcpStream) -> io::Result<bool> {
    let (frames, result) = link.connection.flush(|parts| socket.try_write_vectored(parts));
    link.hub.env.meters.delivered(frames);
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        result => result.map(|()| true),
    }
}

/// Runs the close handshake: sends what is still queued and the close frame, and reads until the peer has closed as well.
/// The kernel would reset a socket that is closed with unread bytes, and the close frame would be lost.
async fn close(link: &Link, socket: &TcpStream, end: End) {
    let Some(frame) = end.frame() else { return };
    let (clock, config) = (&link.hub.env.clock, &link.hub.env.config);
    let sent = async {
        while !flush(link, socket)? {
            socket.writable().await?;
        }
        write_all(socket, &frame).await
    };
    // A client that begins to read again within this time learns why its session ended.
    if !matches!(clock.timeout(config.write_timeout, sent).await, Ok(Ok(()))) {
        return;
    }
    link.connection.end();
    // The client learns that nothing follows, and closes its side.
    let _ = socket2::SockRef::from(socket).shutdown(Shutdown::Write);
    let _ = clock.timeout(config.close_timeout, discard(socket)).await;
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the peer has closed.
async fn discard(socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match BUFFER.with_borrow_mut(|buffer| socket.try_read(buffer)) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each idle session holds its future and its connection.
    #[test]
    fn an_idle_session_is_small() {
        fn future<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        assert!(future(run) <= 640, "{}", future(run));
        assert!(size_of::<Connection>() <= 336, "{}", size_of::<Connection>());
    }
}
