//! Hostile and slow peers over TLS: the limits are those of connections in plain text.

use std::time::Duration;

use comms_grpc::Protocols;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    log::Log,
    support::{Client, LARGE, LIMIT, MEDIUM, Pki, Server, WAIT, closed, get, http2_only},
};

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

/// The time for the head covers the handshake and what follows it, and starts once.
#[tokio::test]
async fn a_peer_that_is_silent_after_the_handshake_is_disconnected() {
    let pki = Pki::new("a");
    for protocols in [Protocols::Http, Protocols::Http2] {
        let server = Server::mutual(&pki, |config| config.protocols = protocols).await;
        let client = Client::new(&pki, pki.leaf("order"));
        for bytes in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = client.connect(server.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.flush().await.unwrap();
            assert!(closed(&mut stream, WAIT).await, "{protocols:?} {bytes:?}");
        }
    }
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
    let answer = timeout(WAIT, get.get(server.address, "/")).await.expect("served");
    assert_eq!(answer, "id: spiffe://shop.test/order");
}

/// A connection counts from the accept, and is released when its handshake fails.
#[tokio::test]
async fn connections_count_towards_the_limits_while_they_shake_hands() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| {
        config.head_timeout = Duration::from_secs(3_600);
        config.max_connections_per_address = Some(2);
    })
    .await;
    let held = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    assert!(closed(&mut refused, WAIT).await);
    drop(held);
    let client = Client::new(&pki, pki.leaf("order"));
    let served = async {
        while client.connect(server.address).await.is_err() {
            sleep(LIMIT / 20).await;
        }
    };
    timeout(WAIT, served).await.expect("the permits are released");
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

#[tokio::test]
async fn a_pipelining_peer_that_reads_nothing_is_cut() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |_| {}).await;
    let client = Client::new(&pki, pki.leaf("order")).http1();
    let mut stream = client.connect(server.address).await.unwrap();
    let request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let pipeline = async { while stream.write_all(&request).await.is_ok() {} };
    timeout(WAIT, pipeline).await.expect("cut");
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

#[tokio::test]
async fn an_http2_peer_with_a_window_of_zero_is_cut() {
    let pki = Pki::new("a");
    for protocols in [Protocols::Http, Protocols::Http2] {
        let server = Server::mutual(&pki, |config| config.protocols = protocols).await;
        let (client, connection) = Client::new(&pki, pki.leaf("order")).http2(server.address, 0).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let request = http::Request::get("https://localhost/").body(()).unwrap();
            let mut ready = client.clone().ready().await.unwrap();
            streams.push(ready.send_request(request, true).unwrap());
        }
        timeout(WAIT, connection).await.expect("cut").unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_peer_that_reads_slowly_gets_everything() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |_| {}).await;
    let mut stream = Client::new(&pki, pki.leaf("order")).http1().connect(server.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; LARGE / 16];
    let (mut got, mut slow) = (0, 0);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        got += read;
        // Each pause is below the limit, and all together are above it.
        if got / (LARGE / 10) > slow && slow < 8 {
            slow += 1;
            sleep(LIMIT / 4).await;
        }
    }
    assert!(got > LARGE);
}

/// The handler does not read the request. The client sends all of it before it reads.
#[tokio::test]
async fn a_client_that_sends_before_it_reads_gets_its_response() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.head_timeout = WAIT).await;
    let mut stream = Client::new(&pki, pki.leaf("order")).http1().connect(server.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..16 {
        stream.write_all(&vec![b'x'; LARGE / 16]).await.unwrap();
    }
    let mut text = String::new();
    timeout(WAIT, stream.read_to_string(&mut text)).await.expect("answered").unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("id: spiffe://shop.test/order"), "{text}");
}

#[tokio::test]
async fn a_connection_that_reaches_its_age_is_closed_gracefully() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| {
        config.protocols = Protocols::Http2;
        config.max_connection_age = Some(LIMIT / 2);
    })
    .await;
    let (client, connection) = Client::new(&pki, pki.leaf("order")).http2(server.address, 65_535).await;
    assert_eq!(get(&client, "/late").await.unwrap(), "late");
    timeout(WAIT, connection).await.expect("closed").unwrap().unwrap();
}
