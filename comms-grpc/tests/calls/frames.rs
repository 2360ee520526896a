//! A peer that responds with HTTP/2 frames made by hand.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::millis;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

pub(crate) fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

/// Returns a HEADERS frame. `:status: 200` is entry 8 of the static table of HPACK; the other fields are literals.
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

/// Serves one connection. `reply` is called with the id of each stream whose request is complete, and returns the bytes
/// to send and whether to close the connection then.
pub(crate) async fn serve_frames(mut socket: TcpStream, mut reply: impl FnMut(u32) -> (Vec<u8>, bool)) {
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
            let (bytes, close) = reply(stream);
            socket.write_all(&bytes).await.unwrap();
            socket.flush().await.unwrap();
            if close {
                // The client reads the bytes before the end of the connection.
                tokio::time::sleep(millis(50)).await;
                return;
            }
        }
    }
}

/// Starts a peer that serves each connection with [`serve_frames`]. `reply` is called with the number of the connection,
/// from 0, and the id of the stream.
pub(crate) async fn peers(
    reply: impl Fn(usize, u32) -> (Vec<u8>, bool) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0.. {
            let socket = listener.accept().await.unwrap().0;
            let reply = reply.clone();
            tokio::spawn(serve_frames(socket, move |stream| reply(connection, stream)));
        }
    });
    address
}

/// Starts a peer that answers the same on all connections.
pub(crate) async fn peer(reply: impl Fn(u32) -> (Vec<u8>, bool) + Clone + Send + 'static) -> SocketAddr {
    peers(move |_, stream| reply(stream)).await
}

/// Returns the response to a successful call: an empty message.
pub(crate) fn success(stream: u32) -> Vec<u8> {
    let head = headers(stream, 0, &[("content-type", "application/grpc")]);
    let trailers = headers(stream, END_STREAM, &[("grpc-status", "0")]);
    [head, frame(DATA, 0, stream, &[0; 5]), trailers].concat()
}
