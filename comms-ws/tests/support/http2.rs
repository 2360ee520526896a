//! A WebSocket over HTTP/2.

use std::net::SocketAddr;

use http::{Method, Request};
use hyper::{client::conn, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Open;

/// Opens a stream by an extended CONNECT on a connection of its own. Returns the status of a refusal, or 0 if the connection
/// ended before.
pub(crate) async fn connect(address: SocketAddr, open: &Open) -> Result<TokioIo<Upgraded>, u16> {
    let socket = TcpStream::connect(address).await.map_err(|_| 0_u16)?;
    socket.set_nodelay(true).unwrap();
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.map_err(|_| 0_u16)?;
    // The connection ends with its last stream, after the sender was dropped.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{address}{}", open.path(true)))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "comms.v1");
    if !open.user.is_empty() {
        request = request.header("authorization", format!("Bearer {}", open.user));
    }
    // The client learns from the settings of the server that it may send this request.
    sender.ready().await.map_err(|_| 0_u16)?;
    let response = sender.send_request(request.body(String::new()).unwrap()).await.map_err(|_| 0_u16)?;
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    hyper::upgrade::on(response).await.map(TokioIo::new).map_err(|_| 0)
}
