//! Keep-alive with a peer in memory, so that paused time can advance by hours.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use comms_core::clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf},
    time::{sleep, timeout},
};
use tonic::body::Body;

use super::*;

mod writes;

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

/// Returns a connection to `peer` with the default keep-alive, and the times at which pings arrived.
async fn connect(peer: Peer) -> (Connection, Arc<Mutex<Vec<Instant>>>) {
    connect_with(peer, KeepAlive::default()).await
}

async fn connect_with(peer: Peer, keep_alive: KeepAlive) -> (Connection, Arc<Mutex<Vec<Instant>>>) {
    let pings = Arc::new(Mutex::new(Vec::new()));
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(peer.serve(server, pings.clone()));
    let now = Clock::system().now();
    (
        Connection::open(client, limits(keep_alive), &Handle::current(), now, Arc::default()).await.unwrap(),
        pings,
    )
}

fn limits(keep_alive: KeepAlive) -> Limits {
    Limits { keep_alive, connect_timeout: HOUR * 2, clock: Clock::system() }
}

async fn call(connection: &mut Connection) -> Result<(), Unanswered> {
    call_with(connection, Body::empty()).await
}

async fn call_with(connection: &mut Connection, body: Body) -> Result<(), Unanswered> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let body = RequestBody::read(body, 1_024, &mut cx).unwrap();
    let stream = connection.clone().try_stream().unwrap();
    let deadline = Clock::system().now() + HOUR * 48;
    stream.send(Request::post("http://peer/test").body(body).unwrap(), deadline).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn pings_are_sent_only_during_a_call_and_at_most_once_in_five_minutes() {
    let (mut connection, pings) = connect(Peer { calls: 2, pings: true }).await;
    call(&mut connection).await.unwrap();
    sleep(HOUR).await;
    call(&mut connection).await.unwrap();
    sleep(HOUR).await;
    // The first ping may be sent with the call, because nothing was received for an hour.
    assert!(pings.lock().unwrap().len() <= 1, "{pings:?}");

    timeout(HOUR, call(&mut connection)).await.expect_err("the third call is not answered");
    sleep(HOUR).await;
    let pings = pings.lock().unwrap();
    let gaps: Vec<_> = pings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= SECOND * 300), "{gaps:?}");
    assert!((11..=14).contains(&pings.len()), "one in about five minutes: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_a_peer_that_does_not_answer_a_ping_is_closed() {
    let (mut connection, pings) = connect(Peer { calls: 1, pings: false }).await;
    call(&mut connection).await.unwrap();
    let began = Clock::system().now();
    let error = call(&mut connection).await.expect_err("the peer is silent");
    let error = format!("{error:?}");
    assert!(error.contains("keep-alive timed out"), "{error}");
    let took = Clock::system().now() - began;
    assert!(took >= SECOND * 320 && took < SECOND * 325, "{took:?}");
    assert_eq!(pings.lock().unwrap().len(), 1);
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_maximum_duration_do_not_panic() {
    let keep_alive = KeepAlive { interval: Duration::MAX, timeout: Duration::MAX };
    keep_alive.check().unwrap();
    let (mut connection, pings) = connect_with(Peer { calls: 1, pings: false }, keep_alive).await;
    call(&mut connection).await.unwrap();
    timeout(HOUR * 24, call(&mut connection)).await.expect_err("the second call is not answered");
    assert!(pings.lock().unwrap().is_empty());
}

/// The peer accepts the bytes and stays silent, so the attempt ends only with the connect timeout of the endpoint.
#[tokio::test(start_paused = true)]
async fn a_connection_is_not_open_before_the_peer_has_spoken() {
    let (client, _server) = tokio::io::duplex(64 * 1024);
    let now = Clock::system().now();
    let runtime = Handle::current();
    let open = Connection::open(client, limits(KeepAlive::default()), &runtime, now, Arc::default());
    timeout(HOUR, open).await.expect_err("the peer has not sent its settings");
}

/// The bytes of a frame header arrive one by one. Three of them show nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_has_spoken_when_its_settings_are_whole() {
    let settings = [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
    let (client, mut server) = tokio::io::duplex(64 * 1024);
    let (now, runtime) = (Clock::system().now(), Handle::current());
    let mut open =
        Box::pin(Connection::open(client, limits(KeepAlive::default()), &runtime, now, Arc::default()));
    for byte in settings {
        timeout(SECOND, &mut open).await.expect_err("the settings are not whole");
        server.write_all(&[byte]).await.unwrap();
    }
    let connection = timeout(SECOND, open).await.unwrap().unwrap();
    let _only = connection.clone().try_stream().unwrap();
    assert!(connection.try_stream().is_none());
}

#[tokio::test]
async fn a_peer_with_another_protocol_or_that_closes_is_an_error() {
    for (answer, text) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak HTTP/2"),
        (b"", "closed the connection"),
        (b"\0\0", "closed the connection"),
    ] {
        let (client, mut server) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            server.read_exact(&mut [0; 24]).await.unwrap();
            server.write_all(answer).await.unwrap();
        });
        let (now, runtime) = (Clock::system().now(), Handle::current());
        let error = Connection::open(client, limits(KeepAlive::default()), &runtime, now, Arc::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}
