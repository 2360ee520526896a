//! Peers that do not send their request body, and request bodies that no handler reads.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use comms_grpc::Protocols;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::support::{LARGE, LIMIT, Server, WAIT, closed, eventually, get, over_each_transport};

#[tokio::test]
async fn a_stopped_request_body_is_cut_and_a_slow_one_is_not() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let head = b"POST /upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
        let mut stops = server.send(&[&head[..], b"12345"].concat()).await;
        assert!(!closed(&mut stops, LIMIT / 2).await);
        assert!(closed(&mut stops, LIMIT + WAIT).await);
        eventually("the handler is dropped", || server.alive.load(SeqCst) == 0).await;

        let mut slow = server.send(head).await;
        for _ in 0..10 {
            sleep(LIMIT / 4).await;
            slow.write_all(b"x").await.unwrap();
        }
        let mut text = String::new();
        slow.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("10"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn stopped_http2_request_bodies_are_cut_unless_another_request_runs() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let (client, connection) = server.http2_without_pings(65_535).await;
        let connection = tokio::spawn(connection);
        let mut late = tokio::spawn({
            let client = client.clone();
            async move { get(&client, "/late").await.data().await.unwrap().unwrap() }
        });
        let mut uploads = Vec::new();
        for _ in 0..3 {
            let request = Request::post("http://x/upload").body(()).unwrap();
            uploads.push(client.clone().ready().await.unwrap().send_request(request, false).unwrap());
        }
        assert_eq!((&mut late).await.unwrap(), "hello");
        timeout(LIMIT + WAIT, connection).await.expect("cut").unwrap().unwrap_err();
        eventually("the handlers are dropped", || server.alive.load(SeqCst) == 0).await;
    })
    .await;
}

/// A gRPC client stream may have no messages for a long time. Its deadline limits it.
#[tokio::test]
async fn an_http2_request_body_may_pause() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http2).await;
        let (client, _connection) = server.http2(65_535).await;
        let request = Request::post("http://x/upload").body(()).unwrap();
        let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"12345"), false).unwrap();
        sleep(LIMIT * 3).await;
        body.send_data(Bytes::from_static(b"67890"), true).unwrap();
        let text = response.await.unwrap().into_body().data().await.unwrap().unwrap();
        assert_eq!(text, "10");
    })
    .await;
}

/// The handler responds without reading. A simple client sends its whole request before it reads the response.
#[tokio::test]
async fn a_client_whose_request_body_is_not_read_gets_its_response() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| config.head_timeout = WAIT).await;
        for length in [100_000, LARGE] {
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
            let mut socket = server.send(head.as_bytes()).await;
            socket.write_all(&vec![b'x'; length]).await.expect("no reset");
            let mut text = String::new();
            socket.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_with_an_endless_body_that_is_not_read_is_disconnected() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        for wait in [Duration::ZERO, LIMIT / 10] {
            let mut socket =
                server.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n").await;
            let drip = async {
                while socket.write_all(&[b'x'; 1_000]).await.is_ok() {
                    sleep(wait).await;
                }
            };
            timeout(LIMIT + WAIT, drip).await.expect("closed");
        }
        server.assert_serves().await;
    })
    .await;
}
