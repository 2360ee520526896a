//! The stream of a connection.

use tokio::io::{AsyncRead, AsyncWrite};

/// A TCP connection, or TLS over one.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
