//! The shutdown of a listener with TLS.

use std::time::Duration;

use comms_grpc::Protocols;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{Client, LIMIT, Pki, Server, WAIT, closed, get_text};

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

/// With TLS 1.3 the client has finished before the listener has read the end of the handshake, and sends its first call with
/// it. A reset would leave the client without a proof that the call was not executed.
#[tokio::test]
async fn a_client_whose_handshake_has_just_finished_gets_a_goaway() {
    let pki = Pki::new("a");
    for protocols in [Protocols::Http, Protocols::Http2] {
        let server = Server::mutual(&pki, |config| {
            (config.protocols, config.drain) = (protocols, DRAIN);
        })
        .await;
        // No await between the end of the handshake of the client and the signal lets the listener run.
        let (client, connection) = Client::new(&pki, pki.leaf("order")).http2(server.address, 65_535).await;
        server.stop.send(()).unwrap();
        let answer = get_text(&client, "/id").await;
        let is_proven = answer.as_ref().is_err_and(h2::Error::is_go_away);
        assert!(answer.is_ok() || is_proven, "{protocols:?}: {answer:?}");
        drop(client);
        connection.await.unwrap().expect("a GOAWAY without error");
        timeout(WAIT, server.ended).await.expect("ends").unwrap().unwrap();
    }
}
