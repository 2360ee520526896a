//! The shutdown of a listener.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use comms_grpc::Protocols;
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::support::{LIMIT, PREFACE, Server, Transport, closed, eventually, get, over_each_transport};

const DRAIN: Duration = Duration::from_secs(60);
/// Far below the drain limit and the head timeout.
const SOON: Duration = Duration::from_secs(10);

/// A subscriber that counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn silent_connections_do_not_delay_shutdown() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    over_each_transport(async |transport| {
        for protocols in [Protocols::Http, Protocols::Http2] {
            let server = Server::start(transport, |config| {
                config.protocols = protocols;
                (config.head_timeout, config.drain) = (DRAIN, DRAIN);
            })
            .await;
            let mut silent = Vec::new();
            let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            // The last connection never answers the ping that follows a GOAWAY.
            for bytes in [&b""[..], b"P", PREFACE, b"GET / HT", &settings] {
                silent.push(server.send(bytes).await);
            }
            if protocols == Protocols::Http {
                let mut idle = server.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
                let mut response = vec![];
                while !response.ends_with(b"hello") {
                    response.push(idle.read_u8().await.unwrap());
                }
                silent.push(idle);
            }
            let (_client, connection) = server.http2(65_535).await;
            sleep(LIMIT / 5).await;
            server.stop.send(()).unwrap();
            timeout(SOON, server.ended).await.expect("at once").unwrap().unwrap();
            connection.await.unwrap().expect("a GOAWAY without error");
            for socket in &mut silent {
                assert!(closed(socket, SOON).await);
            }
        }
    })
    .await;
    assert_eq!(warnings.count(), 0, "no request was cut");
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| config.drain = DRAIN).await;
        let (client, _connection) = server.http2(65_535).await;
        let http2 = tokio::spawn(async move { get(&client, "/late").await.data().await.unwrap().unwrap() });
        let mut http1 = server.send(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n").await;
        eventually("both are in flight", || server.alive.load(SeqCst) == 2).await;
        server.stop.send(()).unwrap();
        let mut text = String::new();
        timeout(SOON, http1.read_to_string(&mut text)).await.expect("closed after the response").unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{text}");
        assert_eq!(http2.await.unwrap(), "hello");
        timeout(SOON, server.ended).await.expect("before the end of the drain").unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn shutdown_cuts_requests_at_the_end_of_the_drain() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| config.drain = LIMIT).await;
        let (client, _connection) = server.http2(65_535).await;
        let http2 = tokio::spawn(async move {
            let request = http::Request::get("http://x/hang").body(()).unwrap();
            client.ready().await.unwrap().send_request(request, true).unwrap().0.await.is_err()
        });
        let mut http1 = server.send(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
        eventually("both are in flight", || server.alive.load(SeqCst) == 2).await;
        let begun = Instant::now();
        server.stop.send(()).unwrap();
        timeout(SOON, server.ended).await.expect("bounded").unwrap().unwrap();
        assert!(begun.elapsed() >= LIMIT);
        assert!(closed(&mut http1, SOON).await && http2.await.unwrap());
        eventually("the handlers are dropped", || server.alive.load(SeqCst) == 0).await;
    })
    .await;
    assert_eq!(warnings.count(), Transport::ALL.len(), "one for each listener");
}

/// A client may send its first call with the preface of HTTP/2. Without a GOAWAY the client has no proof that the call was
/// not executed.
#[tokio::test]
async fn a_peer_whose_http2_handshake_comes_at_the_shutdown_gets_a_goaway() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            (config.protocols, config.drain) = (Protocols::Http2, DRAIN);
        })
        .await;
        let socket = server.connect().await;
        sleep(LIMIT / 5).await;
        server.stop.send(()).unwrap();
        sleep(LIMIT / 10).await;
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        timeout(SOON, connection).await.expect("closed").expect("a GOAWAY without error");
        assert!(client.ready().await.is_err());
        timeout(SOON, server.ended).await.expect("at once").unwrap().unwrap();
    })
    .await;
}
