//! Peers that do not read responses, and connections that are slow for another reason.

use std::sync::atomic::Ordering::SeqCst;

use comms_grpc::Protocols;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{sleep, timeout},
};

use crate::support::{FRAME, LARGE, LIMIT, PREFACE, Server, WAIT, eventually, get, over_each_transport};

#[tokio::test]
async fn a_pipelining_peer_that_reads_nothing_is_cut() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let mut socket = server.connect().await;
        let request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        let pipeline = async { while socket.write_all(&request).await.is_ok() {} };
        timeout(LIMIT + WAIT, pipeline).await.expect("cut");
        eventually("the response is dropped", || server.alive.load(SeqCst) == 0).await;
        server.assert_serves().await;
    })
    .await;
}

/// No response is pending. The peer does not read the acknowledgements of its pings.
#[tokio::test]
async fn an_http2_peer_that_sends_pings_and_reads_nothing_is_cut() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http2).await;
        let mut socket = server.send(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await;
        let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(1_000);
        let flood = async { while socket.write_all(&pings).await.is_ok() {} };
        timeout(LIMIT + WAIT * 2, flood).await.expect("cut");
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_reads_slowly_gets_everything() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let mut socket = server.send(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let mut buffer = vec![0; LARGE / 16];
        let (mut got, mut pauses) = (0, 0);
        loop {
            let read = socket.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            got += read;
            // Each pause is below the limit, and all together are above it.
            if got / (LARGE / 10) > pauses && pauses < 8 {
                pauses += 1;
                sleep(LIMIT / 4).await;
            }
        }
        assert!(got > LARGE);
    })
    .await;
}

#[tokio::test]
async fn an_http2_peer_with_a_window_of_zero_is_cut() {
    over_each_transport(async |transport| {
        for protocols in [Protocols::Http, Protocols::Http2] {
            for window in [0, 1] {
                let server = Server::with_protocols(transport, protocols).await;
                let (client, connection) = server.http2(window).await;
                let mut streams = Vec::new();
                for _ in 0..50 {
                    streams.push(get(&client, "/").await);
                }
                let end = timeout(LIMIT + WAIT, connection).await.expect("cut, although pings are answered");
                assert!(end.unwrap().is_err());
                eventually("the responses are dropped", || server.alive.load(SeqCst) == 0).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_unread_data_of_an_http2_peer_is_bounded() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http2).await;
        let (client, connection) = server.http2(0).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(get(&client, "/frames").await);
        }
        timeout(LIMIT + WAIT, connection).await.expect("cut").unwrap().unwrap_err();
        let taken = server.taken.load(SeqCst);
        assert!(taken > 0 && taken <= 20 * (64 * 1024 + 2 * FRAME), "{taken}");
    })
    .await;
}

/// The tasks of the streams wake the task of a connection on which no frame arrives when data becomes pending.
#[tokio::test]
async fn an_http2_peer_that_sends_no_further_frames_is_cut_in_time() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        for (path, is_upload) in [("/later", false), ("/upload", true)] {
            let (client, connection) = server.http2_without_pings(0).await;
            let connection = tokio::spawn(connection);
            let request = Request::post(format!("http://x{path}")).body(()).unwrap();
            let _request = client.ready().await.unwrap().send_request(request, !is_upload).unwrap();
            // Far below the interval of the server's pings.
            timeout(LIMIT + WAIT, connection).await.expect(path).unwrap().unwrap_err();
            eventually("the request is dropped", || server.alive.load(SeqCst) == 0).await;
        }
    })
    .await;
}

/// New streams and resets of old streams are no progress of pending streams.
#[tokio::test]
async fn new_streams_do_not_extend_the_limit() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let (client, connection) = server.http2(0).await;
        let _first = get(&client, "/").await;
        let opens = async {
            loop {
                let request = Request::get("http://x/").body(()).unwrap();
                let Ok(mut ready) = client.clone().ready().await else { return };
                let Ok((response, _)) = ready.send_request(request, true) else { return };
                drop(response.await);
                sleep(LIMIT / 10).await;
            }
        };
        timeout(LIMIT + WAIT, opens).await.expect("cut");
        connection.abort();
    })
    .await;
}

/// Without a limit on unsent bytes, the kernel of the server would accept far more than the peer receives within the
/// limit.
#[cfg(any(target_os = "android", target_os = "linux"))]
#[tokio::test]
async fn a_peer_on_a_slow_link_gets_everything() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut socket = server.encrypt(socket.connect(server.address).await.unwrap()).await;
        socket.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut buffer = vec![0; 16 * 1024];
        let mut got = 0;
        for _ in 0..30 {
            sleep(LIMIT / 5).await;
            got += socket.read(&mut buffer).await.unwrap();
        }
        let mut rest = Vec::new();
        got += socket.read_to_end(&mut rest).await.unwrap();
        assert!(got > LARGE);
    })
    .await;
}

#[tokio::test]
async fn an_http2_peer_that_reads_slowly_gets_everything() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http2).await;
        let (client, _connection) = server.http2(65_535).await;
        let mut body = get(&client, "/large").await;
        let mut got = 0;
        while let Some(data) = body.data().await {
            let length = data.unwrap().len();
            got += length;
            if got < 20 * 16_384 {
                sleep(LIMIT / 5).await;
            }
            body.flow_control().release_capacity(length).unwrap();
        }
        assert_eq!(got, LARGE);
    })
    .await;
}

#[tokio::test]
async fn a_slow_handler_and_a_stream_without_data_are_not_cut() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        assert!(server.get("/late").await.ends_with("hello"));
        assert_eq!(server.get("/pauses").await.matches("hello").count(), 2);
        for protocols in [Protocols::Http, Protocols::Http2] {
            let server = Server::with_protocols(transport, protocols).await;
            let (client, _connection) = server.http2(65_535).await;
            for (path, length) in [("/late", 5), ("/pauses", 10)] {
                let mut body = get(&client, path).await;
                let mut got = 0;
                while let Some(data) = body.data().await {
                    got += data.unwrap().len();
                }
                assert_eq!(got, length, "{protocols:?} {path}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_may_be_idle() {
    over_each_transport(async |transport| {
        let server = Server::with_protocols(transport, Protocols::Http).await;
        let upgrade = b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        let mut socket = server.send(upgrade).await;
        let mut head = vec![0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(head, b"HTTP/1.1 101");
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        sleep(LIMIT * 3).await;
        socket.write_all(b"!").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'!');
    })
    .await;
}
