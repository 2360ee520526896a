//! Deliveries per second to 100 sockets of one topic: through the hub, and, in the same run, through a simple server (a
//! broadcast channel, one task per socket and one `send` per push, with the defaults of axum). Server and clients share
//! the machine.
//!
//! `cargo bench -p comms-ws`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "the benchmark runs in real time")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, WebSocketUpgrade, ws::Message},
    routing::get,
    serve::ListenerExt,
};
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Push, Session, TopicOptions};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{Notify, broadcast},
};

const CLIENTS: usize = 100;
const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    println!("deliveries/s to {CLIENTS} sockets, 256 B of data");
    for burst in [1, 16, 256] {
        let (hub, simple) = (through_hub(burst).await, through_simple_server(burst).await);
        println!("burst {burst:>3}: hub {hub:>9.0}, simple {simple:>9.0}, ratio {:.2}", hub / simple);
    }
}

async fn through_hub(burst: usize) -> f64 {
    // Without offsets all messages have the same length, by which the clients count.
    let topic = TopicOptions::default().without_history();
    let config = HubConfig::default().max_sessions_per_principal(CLIENTS).topic("all", topic);
    let hub = Hub::new(config, Clock::system()).unwrap();
    let routes = {
        let hub = hub.clone();
        let open =
            |request: Request| async move { hub.accept(request, Session::new("all", vec!["all".into()])) };
        Router::new().route("/", get(open))
    };
    let push = push();
    let shared = Arc::new((hub, push));
    let publish = move || {
        let shared = shared.clone();
        async move { shared.0.publish("all", &shared.1).await.map(|_| ()).unwrap() }
    };
    measure(routes, burst, publish).await
}

async fn through_simple_server(burst: usize) -> f64 {
    let (sender, _) = broadcast::channel::<String>(4_096);
    let source = sender.clone();
    let open = |upgrade: WebSocketUpgrade| async move {
        let mut events = source.subscribe();
        upgrade.on_upgrade(|mut socket| async move {
            while let Ok(text) = events.recv().await {
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        })
    };
    let push = push();
    let routes = Router::new().route("/", get(open));
    let publish = move || {
        let _ = sender.send(serde_json::to_string(&push).unwrap());
        std::future::ready(())
    };
    measure(routes, burst, publish).await
}

fn push() -> Push {
    let id = "order-service/01930000-0000-7000-8000-000000000000";
    let time = Some("2026-11-21T07:00:00.123Z".into());
    Push { time, ..Push::new(id, "order.status.changed.v1", serde_json::json!({"text": "x".repeat(240)})) }
}

/// The bytes that have arrived at all clients together, and the number of bytes to wait for.
#[derive(Default)]
struct Arrived {
    bytes: AtomicUsize,
    expected: AtomicUsize,
    all: Notify,
}

/// Publishes in bursts, each after the previous burst has arrived at all clients. Returns the deliveries per second.
async fn measure<F>(routes: Router, burst: usize, publish: impl Fn() -> F + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // With Nagle's algorithm, a small write would wait for the acknowledgement of the previous write.
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let arrived = Arc::new(Arrived { expected: usize::MAX.into(), ..Arrived::default() });
    let mut readers = Vec::new();
    for _ in 0..CLIENTS {
        readers.push(tokio::spawn(count(connect(address).await, arrived.clone())));
    }
    let bursts = async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        arrived.bytes.store(0, Relaxed);
        publish().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let bytes_per_push = arrived.bytes.swap(0, Relaxed);
        let clock = Clock::system();
        let (started, mut published) = (clock.now(), 0);
        while clock.now() - started < RUN {
            published += burst;
            arrived.expected.store(published * bytes_per_push, Relaxed);
            for _ in 0..burst {
                publish().await;
            }
            arrived.all.notified().await;
        }
        (published * CLIENTS) as f64 / (clock.now() - started).as_secs_f64()
    };
    // Published from a task, like the pushes of a service.
    let rate = tokio::spawn(bursts).await.unwrap();
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    server.abort();
    rate
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/"), socket).await.unwrap();
    socket.into_inner()
}

/// Counts bytes without decoding frames, so that the clients cost little.
async fn count(mut socket: TcpStream, arrived: Arc<Arrived>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = socket.read(&mut buffer).await {
        if arrived.bytes.fetch_add(n, Relaxed) + n == arrived.expected.load(Relaxed) {
            arrived.all.notify_one();
        }
    }
}
