//! The client against a hub, behind a proxy that cuts connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use comms_core::clock::Clock;
use comms_ws::{
    CursorKey, Filter, Hub, HubConfig, Push, Session, SlowConsumer, TopicOptions,
    backplane::Memory,
    client::{Builder, Client, Item, Subscription},
    credentials,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::support::{Running, clock, text};

/// A proxy in front of one hub at a time.
pub(crate) struct Proxy {
    pub(crate) url: String,
    pub(crate) cut: Arc<Notify>,
    is_second: Arc<AtomicBool>,
}

async fn events(State(hub): State<Hub>, request: Request) -> Response {
    let user = credentials(request.headers()).unwrap_or_default().to_owned();
    let session = Session::new(&*user, vec![format!("user/{user}")])
        .topic_with("filtered", Filter::default().event("odd"))
        .allow(|topic| topic != "secret");
    hub.accept(request, session).into_response()
}

pub(crate) async fn serve(hub: Hub) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/", get(events)).with_state(hub)).await
    });
    port
}

impl Proxy {
    pub(crate) async fn start(first: u16, second: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let (cut, is_second) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let proxy = Self { url, cut: cut.clone(), is_second: is_second.clone() };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (cut, port) =
                    (cut.clone(), if is_second.load(Ordering::SeqCst) { second } else { first });
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        proxy
    }
}

pub(crate) fn push(n: u64, event: &str) -> Push {
    Push::new(format!("id/{n}"), event, json!({ "n": n, "pad": "x".repeat(200) }))
}

pub(crate) fn start(proxy: &Proxy, change: impl FnOnce(Builder) -> Builder) -> Running {
    let clock = clock();
    let builder = Client::builder(&proxy.url).token(|| async { Ok("ann".to_owned()) }).clock(clock.clone());
    let (client, events) = change(builder).connect().unwrap();
    Running { client, events, clock }
}

impl Running {
    /// Reads to the item `last`, and reconnects without a wait. Returns the events and the losses.
    async fn read_to(&mut self, last: &str) -> Vec<String> {
        self.read_with_cuts(last).await.0
    }

    /// As [`read_to`](Self::read_to), with the codes or texts of the lost connections.
    pub(crate) async fn read_with_cuts(&mut self, last: &str) -> (Vec<String>, Vec<String>) {
        let (mut items, mut cuts) = (Vec::new(), Vec::new());
        while items.last().is_none_or(|item| item != last) {
            let item = self.item().await;
            match &item {
                Item::Disconnected { retry_in, reason } => {
                    cuts.push(reason.chain().to_string());
                    self.clock.advance(*retry_in);
                }
                Item::Event(_) | Item::Missed { .. } => items.push(text(&item)),
                _ => {}
            }
        }
        (items, cuts)
    }
}

pub(crate) fn all(topic: &str, offsets: impl Iterator<Item = u64>) -> Vec<String> {
    offsets.map(|offset| format!("event {topic} {offset}")).collect()
}

#[tokio::test]
async fn no_event_is_lost_or_repeated_while_connections_are_cut() {
    const EVENTS: u64 = 1_000;
    let config =
        HubConfig::default().topic("", TopicOptions::default().history(2_000, Duration::from_secs(600)));
    let hub = Hub::new(config, Clock::system()).unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let mut client = start(&proxy, |builder| {
        builder.topic("news").topic(Subscription::new("orders").filter(Filter::default().event("even")))
    });
    // The last topic is joined when its first event arrives.
    while !matches!(client.item().await, Item::Subscribed { topic } if topic == "orders") {}
    let publishing = tokio::spawn({
        let cut = proxy.cut.clone();
        async move {
            for n in 1..=EVENTS {
                for topic in ["user/ann", "news", "orders", "filtered"] {
                    hub.publish(topic, &push(n, if n % 2 == 0 { "even" } else { "odd" })).await.unwrap();
                }
                if n % 37 == 0 {
                    cut.notify_waiters();
                }
                tokio::task::yield_now().await;
            }
            hub.publish("user/ann", &push(EVENTS + 1, "last")).await.unwrap();
            hub
        }
    });
    let (items, cuts) = client.read_with_cuts(&format!("event user/ann {}", EVENTS + 1)).await;
    assert!(cuts.len() >= 5, "{cuts:?}");
    publishing.await.unwrap();
    let of =
        |topic: &str| -> Vec<String> { items.iter().filter(|item| item.contains(topic)).cloned().collect() };
    assert_eq!(of("user/ann"), all("user/ann", 1..=EVENTS + 1));
    // The other topics have no last event to wait for: what has arrived is complete up to there.
    for (topic, offsets) in [
        ("news", (1..=EVENTS).step_by(1)),
        ("orders", (2..=EVENTS).step_by(2)),
        ("filtered", (1..=EVENTS).step_by(2)),
    ] {
        let (arrived, expected) = (of(topic), all(topic, offsets));
        assert_eq!(arrived, expected[..arrived.len()], "{topic}");
        assert!(arrived.len() > expected.len() / 2, "{topic}: {}", arrived.len());
    }
}

#[tokio::test]
async fn a_hub_that_drains_hands_its_clients_to_another() {
    let keys = || [CursorKey::new(&[7; 32]).unwrap()];
    let backplane = Memory::new(Clock::system());
    let hub = || {
        let builder = Hub::builder(HubConfig::default(), Clock::system());
        builder.cursor_keys(keys()).backplane(backplane.clone()).build().unwrap()
    };
    let (first, second) = (hub(), hub());
    let proxy = Proxy::start(serve(first.clone()).await, serve(second.clone()).await).await;
    let mut client = start(&proxy, |builder| builder);
    while !matches!(client.item().await, Item::Subscribed { topic } if topic == "user/ann") {}
    first.publish("user/ann", &push(1, "e")).await.unwrap();
    proxy.is_second.store(true, Ordering::SeqCst);
    first.drain(Duration::from_secs(5)).await;
    for n in 2..=3 {
        second.publish("user/ann", &push(n, "e")).await.unwrap();
    }
    assert_eq!(client.read_to("event user/ann 3").await, all("user/ann", 1..=3));
}

#[tokio::test]
async fn what_the_hub_does_not_keep_is_missed() {
    let config = HubConfig::default()
        .topic("news", TopicOptions::default().history(5, Duration::from_secs(600)))
        .topic("prices", TopicOptions::default().without_history().slow_consumer(SlowConsumer::KeepLatest));
    let hub = Hub::new(config, Clock::system()).unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let mut client = start(&proxy, |builder| builder.topic("news").topic("prices").topic("secret"));
    let mut items = Vec::new();
    while items.last().is_none_or(|item| item != "refused forbidden secret") {
        items.push(text(&client.item().await));
    }
    let topics =
        ["connected", "subscribed user/ann", "subscribed filtered", "subscribed news", "subscribed prices"];
    assert_eq!(items[..5], topics);
    proxy.cut.notify_waiters();
    let Item::Disconnected { retry_in, .. } = client.item().await else { panic!("connected") };
    for n in 1..=10 {
        hub.publish("news", &push(n, "e")).await.unwrap();
        hub.publish("user/ann", &push(n, "e")).await.unwrap();
    }
    client.clock.advance(retry_in);
    let items = client.items(5).await;
    assert!(items.contains(&"missed news History".to_owned()), "{items:?}");
    assert!(items.contains(&"missed prices NoHistory".to_owned()), "{items:?}");
    assert!(items.contains(&"recovered user/ann".to_owned()), "{items:?}");
    hub.publish("news", &push(11, "e")).await.unwrap();
    assert_eq!(
        client.read_to("event news 11").await,
        [all("user/ann", 1..=10), all("news", 11..=11)].concat()
    );
}

/// The hub closes the session with 4408 when its queue is full. The client resumes as often as it takes.
#[tokio::test]
async fn a_slow_client_gets_every_event() {
    const EVENTS: u64 = 2_000;
    let history = TopicOptions::default().history(10_000, Duration::from_secs(600));
    let hub = Hub::new(HubConfig::default().queue_frames(50).topic("", history), Clock::system()).unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let mut client = start(&proxy, |builder| builder.queue_items(1));
    while !matches!(client.item().await, Item::Subscribed { topic } if topic == "user/ann") {}
    for n in 1..=EVENTS {
        let large = Push { data: json!("x".repeat(10_000)), ..push(n, "e") };
        hub.publish("user/ann", &large).await.unwrap();
    }
    let (items, cuts) = client.read_with_cuts(&format!("event user/ann {EVENTS}")).await;
    assert_eq!(items, all("user/ann", 1..=EVENTS));
    assert!(cuts.iter().any(|cut| cut.contains("4408")), "{cuts:?}");
}
