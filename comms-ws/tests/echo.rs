//! The handshake, the decoder and the encoder against the client of tokio-tungstenite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// Returns a client that is connected to an echo through a pipe of 10,000 bytes.
async fn connect() -> WebSocketStream<DuplexStream> {
    let (client, server) = tokio::io::duplex(10_000);
    tokio::spawn(comms_ws::testing::echo(server));
    let mut request = "ws://echo/".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "comms.v1".parse().unwrap());
    let (client, response) = client_async(request, client).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "comms.v1");
    client
}

#[tokio::test]
async fn messages_come_back() {
    let mut client = connect().await;
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        for message in [Message::text("é".repeat(len / 2)), Message::binary(vec![0xff; len])] {
            let (mut sink, mut stream) = client.split();
            let (sent, received) = tokio::join!(sink.send(message.clone()), stream.next());
            sent.unwrap();
            assert_eq!(received.unwrap().unwrap(), message);
            client = sink.reunite(stream).unwrap();
        }
    }
    client.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    let close = CloseFrame { code: CloseCode::Library(4000), reason: "bye".into() };
    client.close(Some(close)).await.unwrap();
    let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 4000);
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_long_message_is_refused() {
    let mut client = connect().await;
    let long = vec![0; comms_ws::testing::MAX_MESSAGE + 1];
    let (mut sink, mut stream) = client.split();
    let (_, received) = tokio::join!(sink.send(Message::binary(long)), stream.next());
    let Message::Close(Some(close)) = received.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 1009);
    client = sink.reunite(stream).unwrap();
    drop(client);
}

#[tokio::test]
async fn a_request_of_another_version_is_refused() {
    let (mut client, server) = tokio::io::duplex(10_000);
    tokio::spawn(comms_ws::testing::echo(server));
    let request = "GET / HTTP/1.1\r\nhost: echo\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{response}");
    assert!(response.contains("sec-websocket-version: 13\r\n"), "{response}");
}
