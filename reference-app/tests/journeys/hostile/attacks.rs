//! The attacks: silent, slow and greedy peers.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use super::{Request, Target};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Target {
    pub(super) async fn connect(self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` and returns the open connection.
    pub(super) async fn send(self, bytes: &[u8]) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        socket
    }

    /// Sends `bytes` one by one, again and again, until the listener closes the connection.
    pub(super) async fn drip(self, bytes: &[u8], pause: Duration) {
        let mut socket = self.connect().await;
        for byte in bytes.iter().cycle() {
            if socket.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Pipelines requests and reads no response, until the listener closes the connection.
    pub(super) async fn pipeline(self) {
        let Request::Get(path) = self.request else { return };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut socket = socket.connect(self.address).await.unwrap();
        let requests = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(100);
        while socket.write_all(requests.as_bytes()).await.is_ok() {}
    }

    /// Opens up to 200 HTTP/2 streams with a flow-control window of 0 and sends pings, until the listener closes the
    /// connection.
    pub(super) async fn zero_window(self) {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(0);
        let (client, mut connection) = builder.handshake(self.connect().await).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let connection = tokio::spawn(connection);
        let pinging = tokio::spawn(async move {
            while pings.ping(h2::Ping::opaque()).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        let streams = tokio::spawn(async move {
            let mut bodies = Vec::new();
            for _ in 0..200 {
                let ready = client.clone().ready().await.unwrap();
                bodies.push(self.request(ready).await);
            }
            bodies
        });
        connection.await.unwrap().unwrap_err();
        streams.abort();
        pinging.abort();
    }

    /// Calls `path` over gRPC with the prefix of a message of `length` bytes, and sends none of these bytes.
    pub(super) async fn announce(self, path: &str, length: u32) -> http::Response<h2::RecvStream> {
        let (client, connection) = h2::client::handshake(self.connect().await).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost/{path}"));
        let request = request.header("content-type", "application/grpc").body(()).unwrap();
        let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
        let prefix = [&[0], &length.to_be_bytes()[..]].concat();
        body.send_data(prefix.into(), false).unwrap();
        let response = response.await.unwrap();
        connection.abort();
        response
    }

    /// Sends one request over HTTP/2, and does not read the body of the response.
    async fn request(self, mut client: h2::client::SendRequest<bytes::Bytes>) -> h2::RecvStream {
        let request = http::Request::builder();
        let response = match self.request {
            Request::Get(path) => {
                let request = request.uri(format!("http://localhost{path}")).body(()).unwrap();
                client.send_request(request, true).unwrap().0
            }
            Request::Health => {
                let uri = "http://localhost/grpc.health.v1.Health/Check";
                let request = request.method("POST").uri(uri).header("content-type", "application/grpc");
                let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
                body.send_data(bytes::Bytes::from_static(&[0; 5]), true).unwrap();
                response
            }
        };
        response.await.unwrap().into_body()
    }
}

/// Waits until the listener closes the connection. Fails the test after `limit`.
pub(super) async fn until_closed(socket: &mut TcpStream, limit: Duration, what: &str) {
    assert!(is_closed(socket, limit).await, "the connection is still open: {what}");
}

/// Returns whether the listener closes the connection within `limit`.
pub(super) async fn is_closed(socket: &mut TcpStream, limit: Duration) -> bool {
    let mut buffer = [0; 1_024];
    let reads = async { while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    timeout(limit, reads).await.is_ok()
}
