//! Peers that do not send a complete request head or HTTP/2 handshake.

use std::time::Duration;

use comms_grpc::Protocols;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::support::{LIMIT, PREFACE, Server, closed, over_each_transport};

#[tokio::test]
async fn a_peer_that_sends_no_head_is_disconnected_whatever_it_sends() {
    over_each_transport(async |transport| {
        let half_settings = [PREFACE, &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3]].concat();
        let ping = [PREFACE, &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
        let cases: [(&str, &[u8]); 8] = [
            ("nothing", b""),
            ("one byte of the preface", b"P"),
            ("half of the preface", &PREFACE[..12]),
            ("the preface alone", PREFACE),
            ("half of SETTINGS", &half_settings),
            ("another frame than SETTINGS", &ping),
            ("half of a request line", b"GET / HT"),
            ("an incomplete head", b"GET / HTTP/1.1\r\nhost: x\r\n"),
        ];
        for protocols in [Protocols::Http, Protocols::Http2] {
            let server = Server::with_protocols(transport, protocols).await;
            let peers = cases.map(|(name, bytes)| {
                let server = &server;
                async move {
                    let mut socket = server.send(bytes).await;
                    assert!(
                        closed(&mut socket, LIMIT + Duration::from_secs(3)).await,
                        "{protocols:?}: {name}"
                    );
                }
            });
            futures::future::join_all(peers).await;
        }
    })
    .await;
}

#[tokio::test]
async fn silent_peers_are_not_disconnected_before_the_limit() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        for bytes in [&b""[..], b"P", b"GET / HT"] {
            let mut socket = server.send(bytes).await;
            assert!(!closed(&mut socket, LIMIT / 2).await);
        }
        let mut slow = server.connect().await;
        sleep(LIMIT / 2).await;
        slow.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\nhost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        slow.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_does_not_extend_the_limit() {
    over_each_transport(async |transport| {
        for protocols in [Protocols::Http, Protocols::Http2] {
            let server = Server::with_protocols(transport, protocols).await;
            for bytes in [&b"GET / HTTP/1.1\r\nx-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[..], PREFACE] {
                let mut socket = server.connect().await;
                let drip = async {
                    for byte in bytes.iter().cycle() {
                        if socket.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                        sleep(LIMIT / 20).await;
                    }
                };
                timeout(LIMIT + Duration::from_secs(3), drip).await.expect("closed");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_limit_of_a_further_head_starts_at_its_first_byte() {
    over_each_transport(async |transport| {
        const IDLE: Duration = Duration::from_millis(4 * 500);
        let server = Server::start(transport, |config| config.idle_timeout = IDLE).await;
        for (next, limit) in [(&b""[..], IDLE), (b"GET / HT", LIMIT)] {
            let mut socket = server.connect().await;
            // A proxy sends its next request after a pause. Each request starts the limits again.
            for wait in [LIMIT / 2, LIMIT * 2, LIMIT * 2] {
                sleep(wait).await;
                socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                let mut response = [0; 5];
                while response != *b"hello" {
                    response.rotate_left(1);
                    response[4] = socket.read_u8().await.expect("still open");
                }
            }
            socket.write_all(next).await.unwrap();
            assert!(!closed(&mut socket, limit / 2).await);
            assert!(closed(&mut socket, limit + Duration::from_secs(1)).await);
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_http2_connection_stays_open() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http2).await;
        let (client, connection) = server.http2(65_535).await;
        sleep(LIMIT * 3).await;
        drop(crate::support::get(&client, "/").await);
        sleep(LIMIT * 3).await;
        drop(crate::support::get(&client, "/").await);
        assert!(!connection.is_finished());
    })
    .await;
}

#[tokio::test]
async fn an_http2_peer_that_does_not_answer_pings_is_disconnected() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| config.keep_alive = LIMIT).await;
        let mut silent = server.send(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await;
        assert!(closed(&mut silent, LIMIT * 2 + Duration::from_secs(3)).await);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_response() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        for path in ["/", "/late"] {
            let mut socket = server.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
            socket.shutdown().await.unwrap();
            let mut text = String::new();
            socket.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{path}: {text}");
        }
    })
    .await;
}
