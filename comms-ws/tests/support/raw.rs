//! A WebSocket client that sends bytes of its own choice.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{LIMIT, Open};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const FIN: u8 = 0x80;

/// A socket after the handshake.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
}

impl Raw {
    /// Opens a session over a socket with a small receive buffer, so that the kernel takes little for a client that does not
    /// read.
    pub(crate) async fn open(address: SocketAddr, open: &Open) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(handshake(open).as_bytes()).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.push(timeout(LIMIT, socket.read_u8()).await.unwrap().unwrap());
        }
        assert!(response.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&response));
        Self { socket }
    }

    /// Sends a frame with a mask of zeros, whose first byte is `head`.
    pub(crate) async fn frame(&mut self, head: u8, payload: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(&frame(head, payload)).await
    }

    pub(crate) async fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.frame(FIN | TEXT, text.as_bytes()).await
    }

    /// Reads to the end. Returns the code of the close frame, or 0 if there was none.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 * 1024];
        loop {
            match timeout(LIMIT, self.socket.read(&mut part)).await.expect("an end within the limit") {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes.extend_from_slice(&part[..read]),
            }
        }
        let mut rest = &bytes[..];
        while let [head, len, after @ ..] = rest {
            let (len, after) = match len {
                126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
                127 => (u64::from_be_bytes(after[..8].try_into().unwrap()) as usize, &after[8..]),
                len => (usize::from(*len), after),
            };
            if *head == FIN | CLOSE {
                return u16::from_be_bytes([after[0], after[1]]);
            }
            rest = after.get(len..).unwrap_or_default();
        }
        0
    }
}

/// Returns the request of a handshake.
pub(crate) fn handshake(open: &Open) -> String {
    let path = open.path(true);
    let token = match open.user.as_str() {
        "" => String::new(),
        user => format!("authorization: Bearer {user}\r\n"),
    };
    format!(
        "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n{token}\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Returns a frame with a mask of zeros.
pub(crate) fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(head, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the header of a frame with a mask of zeros.
pub(crate) fn header(head: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![head];
    match len {
        0..126 => bytes.push(0x80 | len as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&len.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}
