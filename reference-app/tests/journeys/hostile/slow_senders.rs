//! Peers that send nothing, an incomplete request, or one byte at a time.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Attacked, WAIT,
    attacks::{PREFACE, until_closed},
};

#[tokio::test]
async fn silent_peers_are_disconnected_by_every_listener_embedded() {
    let attacked = Attacked::start_strict().await;
    // The idle socket of a client must stay open.
    let ann = attacked.marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let cases: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("one byte", b"P"),
        ("half of the preface", &PREFACE[..12]),
        ("the preface without SETTINGS", PREFACE),
        ("half of a request line", b"GET / HT"),
        ("a head without its end", b"GET / HTTP/1.1\r\nhost: localhost\r\n"),
    ];
    let silent = attacked.targets.into_iter().flat_map(|target| {
        cases.map(move |(case, bytes)| async move {
            let mut peer = target.send(bytes).await;
            until_closed(&mut peer, WAIT, &format!("{}: {case}", target.name)).await;
        })
    });
    let drips: [&[u8]; 2] = [b"GET / HTTP/1.1\r\nx-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", PREFACE];
    let slow = attacked.targets.into_iter().flat_map(|target| {
        drips.map(move |bytes| async move {
            let drip = target.drip(bytes, Duration::from_millis(100));
            timeout(WAIT, drip).await.unwrap_or_else(|_| panic!("{}: a head byte by byte", target.name));
        })
    });
    tokio::join!(join_all(silent), join_all(slow), attacked.serves("beside"));
    let placed = ann.place_with_retries("behind", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

#[tokio::test]
async fn an_idle_kept_alive_connection_is_closed_embedded() {
    let attacked = Attacked::start_strict().await;
    for target in attacked.http() {
        let mut peer = target.send(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(peer.read_u8().await.unwrap(), b'H');
        until_closed(&mut peer, WAIT, target.name).await;
    }
}

#[tokio::test]
async fn a_connection_without_the_announced_request_body_is_closed_embedded() {
    let attacked = Attacked::start_strict().await;
    let head = "POST /holds/order-service/order-commands/release HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 10\r\n\r\n";
    for target in attacked.http() {
        let mut peer = target.send(head.as_bytes()).await;
        until_closed(&mut peer, WAIT, target.name).await;
    }
}

/// A message prefix of 5 bytes announces 1 MiB. A service that accepted it would wait and keep the received bytes.
#[tokio::test]
async fn a_message_that_is_announced_too_large_is_refused_at_once_embedded() {
    let attacked = Attacked::start(&[]).await;
    for target in attacked.targets {
        let path = match target.name {
            "order" => "comms.orders.v1.Orders/PlaceOrder",
            "payment" => "comms.payments.v1.Payments/RequestPayment",
            _ => continue,
        };
        let refused = timeout(WAIT, target.announce(path, 1 << 20)).await.expect("refused");
        // RESOURCE_EXHAUSTED
        assert_eq!(refused.headers()["grpc-status"], "8", "{}: {refused:?}", target.name);
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered_embedded() {
    let attacked = Attacked::start(&[]).await;
    for target in attacked.http() {
        let mut peer = target.send(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        peer.shutdown().await.unwrap();
        let mut text = String::new();
        timeout(WAIT, peer.read_to_string(&mut text)).await.expect("answered").unwrap();
        assert!(text.starts_with("HTTP/1.1 404"), "{}: {text}", target.name);
    }
}
