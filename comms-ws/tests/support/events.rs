//! A client of an event stream.

use std::{collections::VecDeque, future::poll_fn, net::SocketAddr, pin::Pin};

use http::Request;
use http_body::Body as _;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};

use super::Open;

/// An open event stream. Dropping it closes its connection.
pub(crate) struct Events {
    body: Incoming,
    connection: JoinHandle<()>,
    text: String,
    events: VecDeque<Value>,
    ids: VecDeque<Option<String>>,
    last_id: Option<String>,
    /// The value of the last line `retry`.
    pub(crate) retry: Option<u64>,
}

impl Events {
    /// Opens a stream. Returns the status of a refusal, or 0 if the connection ended before.
    pub(crate) async fn open(address: SocketAddr, open: &Open, http2: bool) -> Result<Self, u16> {
        Self::send(address, request(address, open, http2), http2).await
    }

    /// Opens a stream whose cursor is in the path, as a browser does, and the id of an earlier event in the header.
    pub(crate) async fn open_path(address: SocketAddr, open: &Open, last_id: Option<&str>) -> Self {
        let mut request = request(address, &Open { cursor: last_id.map(Into::into), ..open.clone() }, false);
        *request.uri_mut() = open.path(true).parse().unwrap();
        Self::send(address, request, false).await.unwrap()
    }

    async fn send(address: SocketAddr, request: Request<String>, http2: bool) -> Result<Self, u16> {
        let socket = TcpStream::connect(address).await.map_err(|_| 0_u16)?;
        socket.set_nodelay(true).unwrap();
        let io = TokioIo::new(socket);
        let (response, connection) = if http2 {
            let (mut sender, connection) =
                conn::http2::handshake(TokioExecutor::new(), io).await.map_err(|_| 0_u16)?;
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        } else {
            let (mut sender, connection) = conn::http1::handshake(io).await.map_err(|_| 0_u16)?;
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, connection)
        };
        let response = response.map_err(|_| 0_u16)?;
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self {
            body: response.into_body(),
            connection,
            text: String::new(),
            events: VecDeque::new(),
            ids: VecDeque::new(),
            last_id: None,
            retry: None,
        })
    }

    /// Returns the next frame, or the close code.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            if let Some(event) = self.events.pop_front() {
                if let Some(id) = self.ids.pop_front().flatten() {
                    self.last_id = Some(id);
                }
                if event["type"] == "close" {
                    return Err(u16::try_from(event["code"].as_u64().unwrap()).unwrap());
                }
                return Ok(event);
            }
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            let Some(Ok(frame)) = frame else { return Err(0) };
            if let Ok(data) = frame.into_data() {
                self.text.push_str(std::str::from_utf8(&data).expect("events end at frames"));
                self.parse();
            }
        }
    }

    /// Returns the id of the last event, which a browser sends when it connects again.
    pub(crate) fn last_id(&self) -> &str {
        self.last_id.as_deref().unwrap_or_default()
    }

    fn parse(&mut self) {
        while let Some(end) = self.text.find("\n\n") {
            let event: String = self.text.drain(..end + 2).collect();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let Some(retry) = field("retry: ") {
                self.retry = Some(retry.parse().unwrap());
            }
            if let Some(data) = field("data: ") {
                self.ids.push_back(field("id: ").map(str::to_owned));
                self.events.push_back(serde_json::from_str(data).unwrap());
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn request(address: SocketAddr, open: &Open, http2: bool) -> Request<String> {
    let path = open.path(false);
    let uri = if http2 { format!("http://{address}{path}") } else { path };
    let mut request = Request::get(uri).header("accept", "text/event-stream");
    if !http2 {
        request = request.header("host", address.to_string());
    }
    if !open.user.is_empty() {
        request = request.header("authorization", format!("Bearer {}", open.user));
    }
    if let Some(cursor) = &open.cursor {
        request = request.header("last-event-id", cursor);
    }
    request.body(String::new()).unwrap()
}
