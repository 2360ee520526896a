//! Hostile and slow peers in the handshake of TLS. `tests/listener` has those after it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::support::{Client, LIMIT, MEDIUM, Pki, Server, WAIT, closed, http2_only, log::Log};

/// The first bytes of a ClientHello that announces 512 bytes.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7, 7, 7, 7, 7, 7];

#[tokio::test]
async fn a_peer_that_does_not_complete_the_handshake_is_disconnected_at_the_limit() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    let (log, _guard) = Log::record();
    for bytes in [&b""[..], &HALF_HELLO[..1], HALF_HELLO] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        assert!(!closed(&mut socket, LIMIT / 2).await, "not before the limit");
        assert!(closed(&mut socket, WAIT).await);
    }
    log.wait_for("reason=timeout", 3).await;
}

#[tokio::test]
async fn a_handshake_byte_by_byte_does_not_extend_the_limit() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let hello = HALF_HELLO.iter().chain(std::iter::repeat(&7));
    let drip = async {
        for byte in hello {
            if socket.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(LIMIT / 20).await;
        }
    };
    timeout(WAIT, drip).await.expect("closed");
}

/// Handshakes run beside each other and beside the accept loop.
#[tokio::test]
async fn silent_peers_do_not_delay_others() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.head_timeout = Duration::from_secs(3_600)).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let get = Client::new(&pki, pki.leaf("order"));
    let answer = timeout(WAIT, get.get(server.address, "/id")).await.expect("served");
    assert_eq!(answer, "id: spiffe://shop.test/order");
}

#[tokio::test]
async fn a_refused_peer_that_stays_is_closed_at_the_limit() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.max_connections_per_address = Some(1)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let flood = async { while socket.write_all(&[b'x'; 1024]).await.is_ok() {} };
    timeout(WAIT, flood).await.expect("closed");
    let client = Client::new(&pki, pki.leaf("order"));
    let served = async {
        while client.connect(server.address).await.is_err() {
            sleep(LIMIT / 20).await;
        }
    };
    timeout(WAIT, served).await.expect("the permit is released");
}

/// TLS takes the whole response at once, so that no write is pending, and the kernel takes a part of it: what TLS keeps is
/// pending data.
#[tokio::test]
async fn a_peer_that_leaves_bytes_in_the_buffer_of_tls_is_cut() {
    let pki = Pki::new("a");
    let (log, _guard) = Log::record();
    let server = Server::mutual(&pki, |config| {
        config.idle_timeout = Duration::from_secs(3_600);
        config.head_timeout = Duration::from_secs(3_600);
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let socket = socket.connect(server.address).await.unwrap();
    let client = Client::new(&pki, pki.leaf("order")).http1();
    let mut stream = client.handshake(socket).await.unwrap();
    stream.write_all(b"GET /medium HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    log.wait_for("a connection without progress was cut", 1).await;
    let mut rest = Vec::new();
    let end = timeout(WAIT, stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(end.is_err() && rest.len() < MEDIUM, "{end:?} after {}", rest.len());
}
