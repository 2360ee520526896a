//! Clients that send nothing, or read nothing.

use std::{cell::Cell, future::poll_fn, net::SocketAddr, pin::Pin, task::Poll, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Session, SlowConsumer, TopicOptions, close};
use http_body::Body as _;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::{
    support::{
        Client, Open, Transport, large_push, publish,
        raw::{FIN, Raw, TEXT, header},
        server::{Io, Server},
    },
    witness::{IO, Witnessed},
};

#[tokio::test]
async fn a_silent_client_is_closed() {
    for io in IO {
        let mut witness = Witnessed::start(io, |config| config.ping_interval(Duration::from_secs(1))).await;
        let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
        let is_closed = Cell::new(false);
        let closed = async {
            let code = raw.close_code().await;
            is_closed.set(true);
            code
        };
        // The witness answers pings while it reads.
        let reads = async {
            while !is_closed.get() {
                witness.check().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (code, ()) = tokio::join!(closed, reads);
        assert_eq!(code, close::SILENT, "{io:?}");
        drop(raw);
        witness.end().await;
    }
}

/// The bytes of a frame that never ends are no sign of life.
#[tokio::test]
async fn a_frame_that_never_ends_is_silence() {
    for io in IO {
        let mut witness = Witnessed::start(io, |config| config.ping_interval(Duration::from_secs(1))).await;
        let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
        raw.socket.write_all(&header(FIN | TEXT, 4_000)).await.unwrap();
        let mut ended = false;
        for _ in 0..1_000 {
            witness.check().await;
            ended = raw.socket.write_all(b" ").await.is_err() || witness.server.hub.stats().sessions == 1;
            if ended {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(ended, "{io:?}");
        drop(raw);
        witness.end().await;
    }
}

/// Clients that never read hold a bounded memory, and then they are ended. The other session of the topic gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_are_bounded_and_ended() {
    const QUEUE: usize = 128 * 1024;
    const CLIENTS: usize = 20;
    for policy in [SlowConsumer::Disconnect, SlowConsumer::DropOldest, SlowConsumer::KeepLatest] {
        for io in IO {
            let options = TopicOptions::default().slow_consumer(policy);
            let mut witness = Witnessed::start(io, |config| {
                let config = config.queue_bytes(QUEUE).topic("public/", options);
                config.write_timeout(Duration::from_millis(700))
            })
            .await;
            let mut stuck = Vec::new();
            for _ in 0..CLIENTS {
                stuck.push(Raw::open(witness.server.address, &Open::of("eve").topic("public/all")).await);
            }
            let mut most = (0, 0);
            for n in 1..=300 {
                witness.server.hub.publish("public/all", &large_push(n, 16 * 1024)).await.unwrap();
                witness.read(n).await;
                let stats = witness.server.hub.stats();
                most = (most.0.max(stats.queued_bytes), most.1.max(stats.held_bytes));
            }
            // The queues of all clients, and the rest of a frame of each.
            let bound = (CLIENTS + 1) * (QUEUE + 20 * 1024);
            assert!(most.0 > 0 && most.0 <= bound, "{io:?} {policy:?}: {most:?} of {bound}");
            witness.end().await;
            drop(stuck);
        }
    }
}

/// Opens an event stream over a socket with a small receive buffer.
async fn event_stream(address: SocketAddr, open: &Open) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\nauthorization: Bearer {}\r\n\r\n",
        open.path(false),
        open.user
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// The hub queues little for an event stream that is never read. After the limit of a write it ends the session, although the
/// server keeps the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_that_are_never_read_are_bounded_and_ended() {
    const QUEUE: usize = 128 * 1024;
    const STREAMS: usize = 10;
    let mut witness = Witnessed::start(Io::Bare, |config| {
        config.queue_bytes(QUEUE).write_timeout(Duration::from_millis(500))
    })
    .await;
    let (mut stuck, mut stuck2) = (Vec::new(), Vec::new());
    let (address, open) = (witness.server.address, Open::of("eve").topic("public/all"));
    for _ in 0..STREAMS {
        stuck.push(event_stream(address, &open).await);
        stuck2.push(Client::open(address, Transport::Events2, &open).await);
    }
    witness.server.until("all are open", |stats| stats.sessions == 2 * STREAMS + 1).await;
    let mut most = 0;
    for n in 1..=300 {
        witness.server.hub.publish("public/all", &large_push(n, 16 * 1024)).await.unwrap();
        witness.read(n).await;
        most = most.max(witness.server.hub.stats().queued_bytes);
    }
    assert!(most > 0 && most <= (2 * STREAMS + 1) * (QUEUE + 20 * 1024), "{most}");
    witness.end().await;
    // A client that reads again gets what the server had taken, and learns why the stream has ended.
    let mut client = stuck2.pop().unwrap();
    let code = loop {
        if let Err(code) = client.next().await {
            break code;
        }
    };
    assert_eq!(code, close::TOO_SLOW);
    drop((stuck, stuck2));
}

/// The body of an event stream that its server does not poll holds nothing after the limit of a write.
#[tokio::test]
async fn a_body_that_is_never_polled_is_ended_and_says_why() {
    for is_disconnected in [false, true] {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let hub = Hub::new(HubConfig::default(), clock.clone()).unwrap();
        let request = || http::Request::get("/").header("accept", "text/event-stream").body(()).unwrap();
        let accept = |user: &str| hub.accept(request(), Session::new(user, vec!["public/all".into()]));
        let (mut eve, mut ann) = (accept("eve").into_body(), accept("ann").into_body());
        publish(&hub, "public/all", [1]).await;
        if is_disconnected {
            assert_eq!(hub.disconnect("eve").await.unwrap(), 1);
        }
        for _ in 0..12 {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            while poll_fn(|cx| Poll::Ready(Pin::new(&mut ann).poll_frame(cx).is_ready())).await {}
        }
        let stats = hub.stats();
        assert_eq!((stats.sessions, stats.queued_bytes, stats.held_bytes), (1, 0, 0));
        let mut text = String::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut eve).poll_frame(cx)).await {
            text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
        let code = if is_disconnected { close::FORBIDDEN } else { close::TOO_SLOW };
        assert!(text.starts_with("retry: ") && text.contains(&format!("\"code\":{code}")), "{text}");
        drop(ann);
        assert_eq!((hub.stats().sessions, hub.stats().topics), (0, 0));
    }
}

/// The end of a stream waits for its server no longer than a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_that_is_closed_and_not_read_ends() {
    let mut witness =
        Witnessed::start(Io::Bare, |config| config.write_timeout(Duration::from_millis(1_500))).await;
    let open = Open::of("eve").topic("public/all");
    let stuck = event_stream(witness.server.address, &open).await;
    witness.server.until("it is open", |stats| stats.sessions == 2).await;
    let mut n = 0;
    while witness.server.hub.stats().queued_bytes < 100_000 {
        n += 1;
        witness.server.hub.publish("public/all", &large_push(n, 16 * 1024)).await.unwrap();
        witness.read(n).await;
    }
    assert_eq!(witness.server.hub.disconnect("eve").await.unwrap(), 1);
    witness.end().await;
    drop(stuck);
}

/// The client reads all the time. Its session does not write while it looks permissions up, one after the other.
#[tokio::test]
async fn a_session_that_is_busy_with_look_ups_is_not_stalled() {
    let config = HubConfig::default().write_timeout(Duration::from_secs(1));
    let hub = Hub::new(config, Clock::system()).unwrap();
    let server = Server::start_with(hub, Io::Wrapped, |user| {
        let session = Session::new(user, vec![format!("user/{user}")]);
        Some(session.allow_async(|_| async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(true)
        }))
    })
    .await;
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    for topic in 0..6 {
        client.send(serde_json::json!({"type": "subscribe", "topic": format!("public/{topic}")})).await;
    }
    // Within the first look-up.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.hub.publish("user/ann", &large_push(1, 10)).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..8 {
        kinds.push(client.next().await.unwrap()["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == "subscribed").count(), 6, "{kinds:?}");
}
