//! Unusual responses, frame by frame: informational responses, responses before the end of the request, and streams
//! that end without a status.

use std::net::SocketAddr;

use comms_core::ErrorKind;
use comms_grpc::from_status;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, SETTINGS, frame, headers, peer, reset},
    support::{SECOND, call, channel, server_streaming},
};

/// A gRPC message without fields, with its prefix.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

fn head() -> Vec<u8> {
    headers(1, 0, &[("content-type", "application/grpc")])
}

fn message(flags: u8) -> Vec<u8> {
    frame(DATA, flags, 1, &EMPTY_MESSAGE)
}

fn trailers(status: &str) -> Vec<u8> {
    headers(1, END_STREAM, &[("grpc-status", status)])
}

/// Returns a response without a body.
fn trailers_only(status: &str) -> Vec<u8> {
    let mut only = headers(1, 0, &[("content-type", "application/grpc"), ("grpc-status", status)]);
    only[4] |= END_STREAM;
    only
}

/// Returns HEADERS with `:status: 103`, which uses the name of entry 8 of the static table of HPACK.
fn early_hints() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, b"\x08\x03103")
}

/// RFC 9113, section 8.1: any number of informational responses may come before the final one.
#[tokio::test]
async fn informational_responses_are_skipped() {
    let bytes = [early_hints(), early_hints(), head(), message(0), trailers("0")].concat();
    let address = peer(move |_| (bytes.clone(), false)).await;
    call(&channel(address, SECOND * 60), "report", 0).await.unwrap();
}

/// Serves one connection: sends `response` after the headers of each request, and never extends the window for its
/// body.
async fn respond_early(mut socket: TcpStream, response: Vec<u8>) {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        let bytes = match (head[3], head[4] & ACK) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (HEADERS, _) => response.clone(),
            _ => continue,
        };
        socket.write_all(&bytes).await.unwrap();
    }
}

/// Starts a peer that serves one connection with [`respond_early`].
async fn early_peer(response: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { respond_early(listener.accept().await.unwrap().0, response).await });
    address
}

/// A server may respond before it has read the request. The client then stops sending the body and uses the response.
#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_accepted() {
    let large = "x".repeat(200_000);
    for end in [vec![], reset(1, NO_ERROR)] {
        let address = early_peer([trailers_only("3"), end.clone()].concat()).await;
        let status = call(&channel(address, SECOND * 60), &large, 0).await.unwrap_err();
        assert_eq!(from_status(&status).kind, ErrorKind::Invalid, "{status:?}");
        let address = early_peer([head(), message(0), trailers("0"), end].concat()).await;
        call(&channel(address, SECOND * 60), &large, 0).await.unwrap();
    }
}

/// A proxy that loses its upstream ends the stream without a status and without an HTTP/2 error.
#[tokio::test]
async fn a_response_that_ends_without_a_status_is_indeterminate() {
    let ends = [
        ("reset without error", [head(), message(0), reset(1, NO_ERROR)].concat()),
        ("end of the stream", [head(), message(END_STREAM)].concat()),
        ("trailers without a status", [head(), message(0), headers(1, END_STREAM, &[("a", "b")])].concat()),
    ];
    for (name, bytes) in ends {
        let response = bytes.clone();
        let address = peer(move |_| (response.clone(), false)).await;
        let unary = call(&channel(address, SECOND * 60), "report", 0).await;
        let address = peer(move |_| (bytes.clone(), false)).await;
        let mut stream = server_streaming(channel(address, SECOND * 60), "three", 0).await.unwrap();
        let first = stream.message().await;
        let second = match &first {
            Ok(_) => stream.message().await.map(drop),
            Err(_) => first.map(drop),
        };
        for (kind, result) in [("unary", unary.map(drop)), ("stream", second)] {
            let status = result.expect_err(&format!("{name}, {kind}"));
            assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{name}, {kind}: {status:?}");
        }
    }
}

/// An empty message, and then the prefix of a message of ten bytes with three of them.
#[tokio::test]
async fn a_body_that_ends_in_a_message_is_an_error() {
    let part = frame(DATA, 0, 1, b"\0\0\0\0\x0aabc");
    let bytes = [head(), message(0), part, trailers("0")].concat();
    let address = peer(move |_| (bytes.clone(), false)).await;
    let mut stream = server_streaming(channel(address, SECOND * 60), "three", 0).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let status = stream.message().await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    assert!(status.message().contains("before the end of a message"), "{status}");
}
