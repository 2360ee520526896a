//! Bare TCP sockets, to which the publisher's side writes.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use tokio::net::TcpStream;

/// A TCP socket that was taken out of a connection of a server, from the function of
/// [`HubBuilder::bare_sockets`](crate::HubBuilder::bare_sockets): the socket, the bytes that the client has sent after its
/// handshake, and a guard that is dropped after the session has ended and the socket is closed, such as the permit of the
/// connection.
pub type BareSocket = (TcpStream, Bytes, Box<dyn Send + Sync>);

/// Takes the socket out of a connection, or returns the connection if it has none.
pub(crate) type TakeSocket = fn(Upgraded) -> Result<BareSocket, Upgraded>;

/// Takes the socket out of a connection that hyper serves on a TCP socket.
pub(crate) fn take_unwrapped(upgraded: Upgraded) -> Result<BareSocket, Upgraded> {
    // A connection that hyper-util has served is wrapped once more than one of hyper.
    let (io, read) = match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io, parts.read_buf),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            (parts.io, parts.read_buf)
        }
    };
    Ok((io.into_inner(), read, Box::new(())))
}

/// The socket of a session, with the guard that outlives it.
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    // The last field, so that it is dropped after the descriptor is closed.
    _guard: Box<dyn Send + Sync>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, guard: Box<dyn Send + Sync>) -> Self {
        // Without it, a small frame waits for the acknowledgement of the one before. The session works without it, too.
        let _ = stream.set_nodelay(true);
        Self { stream, _guard: guard }
    }
}
