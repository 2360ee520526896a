//! Opens a connection: token, TCP, TLS, the WebSocket handshake, and the first frame.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, clock::Clock};
use futures_util::{SinkExt, StreamExt, future::BoxFuture};
use http::{HeaderValue, Uri, header};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message, client::IntoClientRequest, handshake::client::Request, protocol::WebSocketConfig,
    },
};

use super::io::Io;
use super::{
    failure::Failure,
    frame::{ServerFrame, Welcome},
};
use crate::SUBPROTOCOL;

/// The size of the buffers of a connection in each direction.
const BUFFER: usize = 16 * 1024;

/// Returns the token of the next connection, or a new token for an open one.
pub(super) type TokenSource = dyn Fn() -> BoxFuture<'static, Result<String, Error>> + Send + Sync;

pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

/// The server, and how connections to it are opened.
pub(super) struct Target {
    pub(super) url: Uri,
    pub(super) token: Option<Box<TokenSource>>,
    pub(super) connect_timeout: Duration,
    pub(super) max_message: usize,
    pub(super) clock: Clock,
    #[cfg(feature = "client-tls")]
    pub(super) tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
}

/// An open WebSocket whose session the server has accepted.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) welcome: Welcome,
}

/// Opens a connection with the query of [`State::query`](super::state::State::query), within the time limit.
pub(super) async fn open(target: Arc<Target>, query: String) -> Result<Box<Connection>, Failure> {
    let limit = target.connect_timeout;
    let opened = target.clock.timeout(limit, attempt(&target, &query)).await;
    opened.unwrap_or_else(|elapsed| {
        Err(Failure::retryable(Error::not_executed(elapsed).context("open a connection")))
    })
}

async fn attempt(target: &Target, query: &str) -> Result<Box<Connection>, Failure> {
    let request = target.request(query).await?;
    let stream = target.connect().await.map_err(Failure::retryable)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(target.max_message))
        .max_frame_size(Some(target.max_message));
    let opened = client_async_with_config(request, stream, Some(config)).await;
    let (mut socket, _) = opened.map_err(Failure::handshake)?;
    let welcome = read_welcome(&mut socket).await?;
    Ok(Box::new(Connection { socket, welcome }))
}

async fn read_welcome(socket: &mut Socket) -> Result<Welcome, Failure> {
    while let Some(message) = socket.next().await {
        match message.map_err(Failure::socket)? {
            Message::Text(text) => match ServerFrame::parse(&text).map_err(Failure::retryable)? {
                ServerFrame::Welcome(welcome) => return Ok(welcome),
                _ => return Err(Failure::lost("the first frame of the server is no `welcome`")),
            },
            Message::Close(frame) => {
                // Sends the answer to the close frame. The failure is known without it.
                let _ = socket.flush().await;
                return Err(Failure::closed(frame.as_ref()));
            }
            _ => {}
        }
    }
    Err(Failure::lost("the connection ended before `welcome`"))
}

impl Target {
    /// Returns a token of the application.
    pub(super) async fn token(&self) -> Result<Option<String>, Error> {
        match &self.token {
            Some(source) => source().await.map(Some).map_err(|e| e.context("get a token")),
            None => Ok(None),
        }
    }

    async fn request(&self, query: &str) -> Result<Request, Failure> {
        // A user who logged out, for example, gets no token at the next attempt either.
        let token = self.token().await.map_err(|error| Failure {
            is_final: matches!(
                error.kind,
                ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::Fatal
            ),
            error,
        })?;
        let separator = match (query.is_empty(), self.url.query()) {
            (true, _) => "",
            (false, None) => "?",
            (false, Some(_)) => "&",
        };
        let request = format!("{}{separator}{query}", self.url).into_client_request();
        let mut request =
            request.map_err(|e| Failure::permanent(Error::invalid(e).context("build the URL")))?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Some(token) = token {
            // The error of `HeaderValue` does not contain the token.
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value
                .map_err(|e| Failure::permanent(Error::invalid(e).context("the token is no header value")))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Opens the TCP connection, and TLS for `wss`.
    async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let host = self.url.host().unwrap_or_default();
        // The host of a URI has brackets around an IPv6 address.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = self.url.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        let failed = |e| Error::not_executed(e).context(format!("connect to {host}:{port}"));
        let tcp = TcpStream::connect((host, port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        #[cfg(feature = "client-tls")]
        if let Some(config) = self.tls.clone().filter(|_| self.is_tls()) {
            return super::tls::handshake(config, host, tcp).await;
        }
        Ok(Box::new(tcp))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("wss")
    }
}
