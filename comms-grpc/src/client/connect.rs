//! Opens the byte stream of a connection: name resolution, TCP, the options of the socket, and TLS.

#[cfg(feature = "tls")]
use std::sync::Arc;
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
#[cfg(feature = "tls")]
use crate::tls::{ClientHandshake, ClientStream};

/// Opens connections with the settings of a channel.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientHandshake>>,
}

impl Connector {
    /// The connect timeout is divided among the addresses of a host, so that each of them is attempted.
    pub(super) fn new(connect_timeout: Duration, keep_alive: KeepAlive) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        // The scheme of the URI does not decide about TLS.
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect_timeout));
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        tcp.set_tcp_user_timeout(Some(keep_alive.timeout.min(LONGEST)));
        #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
        let _ = (keep_alive, LONGEST);
        Self {
            tcp,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Makes the handshake `tls` on each connection.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, tls: Option<ClientHandshake>) -> Self {
        Self { tls: tls.map(Arc::new), ..self }
    }

    /// Connects to the host and port of `target`. `host` is the host in the URI of the channel, which the certificate of
    /// the peer must name.
    pub(super) async fn connect(&self, target: Uri, host: &str) -> Result<Stream, BoxError> {
        let mut tcp = self.tcp.clone();
        std::future::poll_fn(|cx| tcp.poll_ready(cx)).await?;
        let socket = tcp.call(target).await?.into_inner();
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Ok(Stream::Tls(Box::new(tls.connect(host, socket).await?)));
        }
        #[cfg(not(feature = "tls"))]
        let _ = host;
        Ok(Stream::Plain(socket))
    }
}

/// The byte stream of a connection.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without encryption.
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<ClientStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
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
        let connector = Connector::new(Duration::from_secs(1), keep_alive);
        match connector.connect(uri, "127.0.0.1").await.unwrap() {
            Stream::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Stream::Tls(_) => panic!("TLS without settings for it"),
        }
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
