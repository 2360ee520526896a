//! Keep-alive with a peer in memory, so that paused time can advance by hours.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Instant,
};

use comms_core::clock::Clock;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    time::{sleep, timeout},
};
use tonic::{body::Body, transport::Channel};
use tower::{ServiceExt, service_fn};
use tower_service::Service;

use super::*;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status: 200` in HPACK.
const STATUS_200: u8 = 0x88;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A peer that answers the first `calls` calls of each connection, and pings if `pings` is set.
#[derive(Clone, Copy)]
struct Peer {
    calls: usize,
    pings: bool,
}

impl Peer {
    /// Serves one connection, and records the times at which pings arrive.
    async fn serve(mut self, mut io: DuplexStream, pings: Arc<Mutex<Vec<Instant>>>) -> io::Result<()> {
        io.read_exact(&mut [0; 24]).await?;
        io.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
        let mut head = [0; 9];
        loop {
            io.read_exact(&mut head).await?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            io.read_exact(&mut payload).await?;
            let [_, _, _, kind, flags, stream @ ..] = head;
            if kind == PING && flags & ACK == 0 {
                pings.lock().unwrap().push(Clock::system().now());
                if self.pings {
                    io.write_all(&[&[0, 0, 8, PING, ACK, 0, 0, 0, 0][..], &payload].concat()).await?;
                }
            }
            if kind == HEADERS && self.calls > 0 {
                self.calls -= 1;
                let answer = [&[0, 0, 1, HEADERS, END_STREAM_AND_HEADERS][..], &stream, &[STATUS_200]];
                io.write_all(&answer.concat()).await?;
            }
        }
    }
}

/// Returns a transport to `peer` with the default keep-alive, and the times at which pings arrived on all its
/// connections.
fn connect(peer: Peer) -> (Channel, Arc<Mutex<Vec<Instant>>>) {
    connect_with(peer, KeepAlive::default())
}

fn connect_with(peer: Peer, keep_alive: KeepAlive) -> (Channel, Arc<Mutex<Vec<Instant>>>) {
    let pings = Arc::new(Mutex::new(Vec::new()));
    let seen = pings.clone();
    let connector = service_fn(move |_: Uri| {
        let (client, server) = tokio::io::duplex(64 * 1024);
        tokio::spawn(peer.serve(server, seen.clone()));
        async { Ok::<_, io::Error>(TokioIo::new(client)) }
    });
    let endpoint = endpoint(Uri::from_static("http://peer"), keep_alive);
    (endpoint.connect_with_connector_lazy(connector), pings)
}

async fn call(transport: &mut Channel) -> Result<(), tonic::transport::Error> {
    let request = http::Request::post("http://peer/test").body(Body::empty()).unwrap();
    transport.ready().await?.call(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn pings_are_sent_only_during_a_call_and_at_most_once_in_five_minutes() {
    let (mut transport, pings) = connect(Peer { calls: 2, pings: true });
    call(&mut transport).await.unwrap();
    sleep(HOUR).await;
    call(&mut transport).await.unwrap();
    sleep(HOUR).await;
    // The first ping may be sent with the call, because nothing was received for an hour.
    assert!(pings.lock().unwrap().len() <= 1, "{pings:?}");

    timeout(HOUR, call(&mut transport)).await.expect_err("the third call is not answered");
    sleep(HOUR).await;
    let pings = pings.lock().unwrap();
    let gaps: Vec<_> = pings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= SECOND * 300), "{gaps:?}");
    assert!((11..=14).contains(&pings.len()), "one in about five minutes: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_a_peer_that_does_not_answer_a_ping_is_replaced() {
    let (mut transport, pings) = connect(Peer { calls: 1, pings: false });
    call(&mut transport).await.unwrap();
    let began = Clock::system().now();
    let error = call(&mut transport).await.expect_err("the peer is silent");
    let error = format!("{error:?}");
    assert!(error.contains("KeepAliveTimedOut"), "{error}");
    let took = Clock::system().now() - began;
    assert!(took >= SECOND * 320 && took < SECOND * 325, "{took:?}");
    assert_eq!(pings.lock().unwrap().len(), 1);
    // The peer answers the first call of each connection.
    call(&mut transport).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_maximum_duration_do_not_panic() {
    let keep_alive = KeepAlive { interval: Duration::MAX, timeout: Duration::MAX };
    keep_alive.check().unwrap();
    let (mut transport, pings) = connect_with(Peer { calls: 1, pings: false }, keep_alive);
    call(&mut transport).await.unwrap();
    timeout(HOUR * 24, call(&mut transport)).await.expect_err("the second call is not answered");
    assert!(pings.lock().unwrap().is_empty());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let socket = connector(SECOND, keep_alive).call(uri).await.unwrap().into_inner();
    #[cfg(target_os = "linux")]
    assert_eq!(socket2::SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(LONGEST));
    #[cfg(not(target_os = "linux"))]
    drop(socket);
}

#[tokio::test]
async fn sockets_have_the_tcp_user_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let socket = connector(SECOND, KeepAlive::default()).call(uri).await.unwrap().into_inner();
    assert!(socket.nodelay().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(socket2::SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(SECOND * 20));
}

#[test]
fn a_keep_alive_below_the_minimum_is_invalid() {
    let of = |interval, timeout| KeepAlive { interval, timeout }.check();
    of(SECOND * 10, Duration::from_millis(1)).unwrap();
    let refused = of(Duration::from_millis(9_999), SECOND).unwrap_err().to_string();
    assert!(refused.contains("10s") && refused.contains("too_many_pings"), "{refused}");
    of(SECOND * 10, Duration::from_micros(999)).unwrap_err();
}
