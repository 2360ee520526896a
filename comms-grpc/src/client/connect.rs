//! Opens the byte stream of a connection: name resolution, TCP, and the options of the socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use comms_core::BoxError;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

use super::keep_alive::{KeepAlive, LONGEST};

/// Opens connections with the settings of a channel.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
}

impl Connector {
    /// The connect timeout is divided among the addresses of a host, so that each of them is attempted.
    pub(super) fn new(connect_timeout: Duration, keep_alive: KeepAlive) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        tcp.set_tcp_user_timeout(Some(keep_alive.timeout.min(LONGEST)));
        #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
        let _ = (keep_alive, LONGEST);
        Self { tcp }
    }

    /// Connects to the host and port of `target`.
    pub(super) async fn connect(&self, target: Uri) -> Result<Stream, BoxError> {
        let mut tcp = self.tcp.clone();
        std::future::poll_fn(|cx| tcp.poll_ready(cx)).await?;
        let socket = tcp.call(target).await?.into_inner();
        Ok(Stream::Plain(socket))
    }
}

/// The byte stream of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without encryption.
    Plain(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn socket(keep_alive: KeepAlive) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let Stream::Plain(socket) =
            Connector::new(Duration::from_secs(1), keep_alive).connect(uri).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn sockets_have_the_tcp_user_timeout() {
        let socket = socket(KeepAlive::default()).await;
        assert!(socket.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        let expected = Some(Duration::from_secs(20));
        #[cfg(target_os = "linux")]
        assert_eq!(socket2::SockRef::from(&socket).tcp_user_timeout().unwrap(), expected);
    }

    #[tokio::test]
    async fn limits_of_the_maximum_duration_do_not_panic() {
        let keep_alive = KeepAlive { interval: Duration::MAX, timeout: Duration::MAX };
        keep_alive.check().unwrap();
        let socket = socket(keep_alive).await;
        #[cfg(target_os = "linux")]
        assert_eq!(socket2::SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(LONGEST));
        #[cfg(not(target_os = "linux"))]
        drop(socket);
    }
}
