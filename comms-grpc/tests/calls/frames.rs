//! A peer that answers with HTTP/2 frames made by hand: which of them prove that a call was not executed.

use std::net::SocketAddr;

use comms_core::ErrorKind;
use comms_grpc::{ServerConfig, from_status, tonic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use crate::probe::{Probe, SECOND, call, channel, millis, start_on, watch};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

/// `:status: 200` is the eighth entry of HPACK's static table; the others are literals.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = if flags & END_STREAM == 0 { vec![0x88] } else { vec![] };
    for (name, value) in fields {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// Serves one connection: `reply` gets the id of each stream whose request is complete, and returns the bytes to send
/// for it and whether to cut the connection then.
async fn serve_frames(mut socket: TcpStream, mut reply: impl FnMut(u32) -> (Vec<u8>, bool)) {
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if kind == SETTINGS && flags & ACK == 0 {
            socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
        }
        if kind == DATA && flags & END_STREAM != 0 {
            let (bytes, cut) = reply(stream);
            socket.write_all(&bytes).await.unwrap();
            socket.flush().await.unwrap();
            if cut {
                // The client reads what was sent before it sees the end.
                tokio::time::sleep(millis(50)).await;
                return;
            }
        }
    }
}

pub(crate) async fn peer(reply: impl FnMut(u32) -> (Vec<u8>, bool) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve_frames(listener.accept().await.unwrap().0, reply).await });
    address
}

#[tokio::test]
async fn what_the_protocol_proves_is_not_executed_and_the_rest_is_indeterminate() {
    use ErrorKind::{Indeterminate, NotExecuted};
    let trailers_only = |status: &'static str| {
        let mut answer = headers(1, 0, &[("content-type", "application/grpc"), ("grpc-status", status)]);
        answer.extend(frame(DATA, END_STREAM, 1, &[]));
        answer
    };
    let head = headers(1, 0, &[("content-type", "application/grpc")]);
    let cases: [(&str, Vec<u8>, bool, ErrorKind); 13] = [
        ("refused", reset(1, REFUSED_STREAM), false, NotExecuted),
        ("goaway below", goaway(0, NO_ERROR), false, NotExecuted),
        ("goaway below, then cut", goaway(0, NO_ERROR), true, NotExecuted),
        ("goaway below with a reason", goaway(0, ENHANCE_YOUR_CALM), true, NotExecuted),
        ("goaway at the stream, then cut", goaway(1, NO_ERROR), true, Indeterminate),
        ("goaway with a reason at the stream, then cut", goaway(1, INTERNAL_ERROR), true, Indeterminate),
        ("goaway of a graceful end, then cut", goaway(0x7fff_ffff, NO_ERROR), true, Indeterminate),
        ("calm", reset(1, ENHANCE_YOUR_CALM), false, Indeterminate),
        ("cancelled", reset(1, CANCEL), false, Indeterminate),
        ("reset without error", reset(1, NO_ERROR), false, Indeterminate),
        ("cut", vec![], true, Indeterminate),
        ("UNAVAILABLE", trailers_only("14"), false, Indeterminate),
        ("refused after the head", [head, reset(1, REFUSED_STREAM)].concat(), false, Indeterminate),
    ];
    for (name, bytes, cut, kind) in cases {
        let address = peer(move |_| (bytes.clone(), cut)).await;
        let status = call(&channel(address, SECOND * 5), "report", 0).await.unwrap_err();
        assert_ne!(status.code(), Code::DeadlineExceeded, "{name}: {status}");
        assert_eq!(from_status(&status).kind, kind, "{name}: {status:?}");
        assert_eq!(
            kind == NotExecuted,
            status.code() == Code::Unavailable && name != "UNAVAILABLE",
            "{name}"
        );
    }
}

/// h2 reports the GOAWAY to the stream above its last id only.
#[tokio::test]
async fn a_goaway_between_two_calls_proves_it_of_the_later_one_alone() {
    let address = peer(|stream| match stream {
        1 => (vec![], false),
        _ => (goaway(1, NO_ERROR), true),
    })
    .await;
    let channel = channel(address, SECOND * 5);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(millis(200)).await;
    let second = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&second).kind, ErrorKind::NotExecuted, "{second}");
    let first = first.await.unwrap();
    assert_eq!(from_status(&first).kind, ErrorKind::Indeterminate, "{first}");
}

/// The stream has begun, so that the handler has run, whatever the peer says afterwards.
#[tokio::test]
async fn no_frame_in_the_middle_of_a_stream_is_a_proof() {
    let marked = [("grpc-status", "14"), ("comms-not-executed", "not_executed")];
    for end in [reset(1, REFUSED_STREAM), goaway(0, NO_ERROR), headers(1, END_STREAM, &marked)] {
        let head = headers(1, 0, &[("content-type", "application/grpc")]);
        let bytes = [head, end].concat();
        let address = peer(move |_| (bytes.clone(), false)).await;
        let status = match watch(channel(address, SECOND * 5), "three", 0).await {
            Ok(mut stream) => stream.message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
        assert!(status.metadata().get("comms-not-executed").is_none());
    }
}

/// The next call finds the connection closed, and makes another.
#[tokio::test]
async fn a_call_after_a_goaway_uses_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(listener.local_addr().unwrap(), SECOND * 5);
    let server = tokio::spawn(async move {
        serve_frames(listener.accept().await.unwrap().0, |_| (goaway(0, NO_ERROR), true)).await;
        listener
    });
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status}");
    let _server = start_on(server.await.unwrap(), Probe::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();
}

/// tonic panics on such details, and loses the code beside such a message.
#[tokio::test]
async fn malformed_details_and_messages_cost_neither_the_code_nor_the_process() {
    for (code, kind) in [("3", ErrorKind::Invalid), ("0", ErrorKind::Indeterminate)] {
        let fields = [("grpc-status", code), ("grpc-message", "%FF"), ("grpc-status-details-bin", "*")];
        let bytes = [headers(1, 0, &[("content-type", "application/grpc")]), headers(1, END_STREAM, &fields)];
        let in_head = [headers(1, 0, &fields), frame(DATA, END_STREAM, 1, &[])];
        for bytes in [bytes.concat(), in_head.concat()] {
            let address = peer(move |_| (bytes.clone(), false)).await;
            // A success without a message is an error as well.
            let status = call(&channel(address, SECOND * 5), "report", 0).await.unwrap_err();
            assert_eq!(from_status(&status).kind, kind, "{code}: {status:?}");
        }
    }
}
