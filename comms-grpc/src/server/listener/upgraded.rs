//! Takes sockets out of upgraded connections.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use tokio::net::TcpStream;

use super::{problem_details::ProblemDetails, socket::Socket, transport::Transport};

/// Takes the TCP socket out of an upgraded connection of [`listen`](crate::listen), for code that reads from and writes to
/// the socket itself.
///
/// Returns the socket, the bytes that the peer has sent after its request, and the permit of the connection. The
/// connection counts towards [`ListenerConfig::max_connections`](crate::ListenerConfig::max_connections) and
/// [`ListenerConfig::max_connections_per_address`](crate::ListenerConfig::max_connections_per_address) until the permit
/// is dropped. Drop the permit after the socket. The limits of the listener on time and on unsent bytes in the kernel do not
/// apply to the socket any more, and the shutdown of the listener neither waits for it nor closes it, as for every upgraded
/// connection.
///
/// `HubBuilder::bare_sockets` of the crate `comms-ws` accepts this function, so that a hub writes to the sockets itself.
///
/// # Errors
/// Returns the connection as it was if it is encrypted, if it is a stream of HTTP/2, or if it is not one of
/// [`listen`](crate::listen).
pub fn take_socket(upgraded: Upgraded) -> Result<(TcpStream, Bytes, Box<dyn Send + Sync>), Upgraded> {
    let parts = upgrade::downcast::<TokioIo<ProblemDetails<Transport<Socket>>>>(upgraded)?;
    let (stream, permit) = parts.io.into_inner().into_inner().into_inner().into_parts();
    #[cfg(any(target_os = "android", target_os = "linux"))]
    // 0 is the default of the system. Best effort, as when the listener sets the limit.
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(0);
    Ok((stream, parts.read_buf, Box::new(permit)))
}
