//! The shutdown of a listener with TLS.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{Client, LIMIT, Pki, Server, WAIT, closed, get};

const DRAIN: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn handshakes_and_silent_connections_do_not_delay_shutdown() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| (config.head_timeout, config.drain) = (DRAIN, DRAIN)).await;
    let client = Client::new(&pki, pki.leaf("order"));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    refused.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut quiet = client.connect(server.address).await.unwrap();
    let (_http2, connection) = client.http2(server.address, 65_535).await;
    sleep(LIMIT / 5).await;
    server.stop.send(()).unwrap();
    timeout(WAIT, server.ended).await.expect("at once").unwrap().unwrap();
    connection.await.unwrap().expect("a GOAWAY without error");
    assert!(closed(&mut silent, WAIT).await && closed(&mut half, WAIT).await);
    assert!(closed(&mut refused, WAIT).await && closed(&mut quiet, WAIT).await);
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.drain = DRAIN).await;
    let client = Client::new(&pki, pki.leaf("order"));
    let (http2, _connection) = client.http2(server.address, 65_535).await;
    let in_flight = tokio::spawn(async move { get(&http2, "/late").await.unwrap() });
    sleep(LIMIT / 5).await;
    server.stop.send(()).unwrap();
    assert_eq!(in_flight.await.unwrap(), "late");
    timeout(WAIT, server.ended).await.expect("before the end of the drain").unwrap().unwrap();
    assert!(client.connect(server.address).await.is_err());
}
