//! Accepted sockets.

use std::{io, time::Duration};

use futures::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};

/// How long to wait when no socket can be accepted, mostly for want of file descriptors: at once would
/// be a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// Sockets as they come, with `TCP_NODELAY`: a call is several small writes, and Nagle's algorithm
/// makes each wait for the peer's delayed acknowledgement.
pub(super) fn sockets(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await.and_then(|(socket, _)| socket.set_nodelay(true).map(|()| socket)) {
                Ok(socket) => return Some((Ok(socket), listener)),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}
