//! Sessions that resume while messages are published.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_ws::{Hub, TopicOptions};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;
use tokio::task::{JoinSet, yield_now};

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, push};

pub(crate) const TOPIC: &str = "public/busy";

pub(crate) async fn server() -> Server {
    let options = TopicOptions::default().history(1_000_000, std::time::Duration::from_secs(600));
    let config = config().topic("public/", options).queue_bytes(64 << 20).queue_frames(1_000_000);
    Server::start(builder(config).build().unwrap()).await
}

/// Publishes at full speed from several tasks until `stop`. Returns the number of messages of each.
pub(crate) fn publishers(hub: &Hub, stop: &Arc<AtomicBool>, tasks: u64) -> JoinSet<u64> {
    let mut publishers = JoinSet::new();
    for task in 0..tasks {
        let (hub, stop) = (hub.clone(), stop.clone());
        publishers.spawn(async move {
            let mut count = 0;
            while !stop.load(Relaxed) {
                hub.publish(TOPIC, &push(task * 1_000_000 + count)).await.unwrap();
                count += 1;
                if count % 8 == 0 {
                    yield_now().await;
                }
            }
            count
        });
    }
    publishers
}

/// A client that connects again and again has each message once, however the messages fall between its sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_reconnect_under_load_have_each_message_once() {
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = publishers(&server.hub, &stop, 2);
    let mut clients = JoinSet::new();
    for seed in 0..24 {
        clients.spawn(reconnect(server.address, seed));
    }
    let ledgers = clients.join_all().await;
    stop.store(true, Relaxed);
    let total: u64 = publishers.join_all().await.iter().sum();
    for mut ledger in ledgers {
        let open = Open::of("ann").topic(TOPIC).cursor(ledger.cursor());
        let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
        client.until(&mut ledger, TOPIC, total).await;
        assert_eq!(ledger.gaps(TOPIC), []);
        let mut numbers = ledger.received(TOPIC).to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ledger.received(TOPIC).len(), "no message twice under another offset");
    }
    server.until_empty().await;
}

/// Reads a random number of messages in each of several sessions over random transports.
async fn reconnect(address: std::net::SocketAddr, seed: u64) -> Ledger {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut ledger = Ledger::default();
    for _ in 0..12 {
        let transport = Transport::ALL[random.next_u64() as usize % 4];
        let mut open = Open::of("ann").topic(TOPIC);
        if ledger.offset(TOPIC).is_some() {
            open = open.cursor(ledger.cursor());
        }
        let mut client = Client::open(address, transport, &open).await;
        for _ in 0..random.next_u64() % 300 {
            client.checked(&mut ledger).await.unwrap();
        }
    }
    ledger
}

/// A client leaves a topic and joins it again with its cursor on the same socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_subscribe_again_under_load_have_each_message_once() {
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = publishers(&server.hub, &stop, 1);
    let mut clients = JoinSet::new();
    for seed in 0..16 {
        let address = server.address;
        clients.spawn(async move {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut ledger = Ledger::default();
            let mut client = Client::open(address, Transport::WebSocket, &Open::of("ann")).await;
            client.checked(&mut ledger).await.unwrap();
            let subscribe = |ledger: &Ledger| match ledger.offset(TOPIC) {
                Some(_) => json!({"type": "subscribe", "topic": TOPIC, "cursor": ledger.cursor()}),
                None => json!({"type": "subscribe", "topic": TOPIC}),
            };
            for _ in 0..20 {
                client.send(subscribe(&ledger)).await;
                for _ in 0..1 + random.next_u64() % 100 {
                    client.checked(&mut ledger).await.unwrap();
                }
                client.send(json!({"type": "unsubscribe", "topic": TOPIC})).await;
                let mut before = ledger.clone();
                while client.checked(&mut ledger).await.unwrap()["type"] != "unsubscribed" {
                    before = ledger.clone();
                }
                ledger = before;
            }
            client.send(subscribe(&ledger)).await;
            (client, ledger)
        });
    }
    let mut ledgers = Vec::new();
    while let Some(client) = clients.join_next().await {
        ledgers.push(client.unwrap());
    }
    stop.store(true, Relaxed);
    let total: u64 = publishers.join_all().await.iter().sum();
    for (client, ledger) in &mut ledgers {
        client.until(ledger, TOPIC, total).await;
        assert_eq!(ledger.gaps(TOPIC), []);
    }
    drop(ledgers);
    server.until_empty().await;
}

/// A client changes its filter while messages are published that pass all its filters: each message arrives once, and each
/// confirmation names the position of the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_of_the_filter_under_load_loses_and_repeats_nothing() {
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = publishers(&server.hub, &stop, 2);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let address = server.address;
        clients.spawn(async move {
            let mut ledger = Ledger::default();
            let open = Open::of("ann").topic(TOPIC);
            let mut client = Client::open(address, Transport::WebSocket, &open).await;
            client.checked(&mut ledger).await.unwrap();
            for n in 0..200 {
                let filter = if n % 2 == 0 { json!({"events": ["test.happened.v1"]}) } else { json!({}) };
                client.send(json!({"type": "subscribe", "topic": TOPIC, "filter": filter})).await;
                loop {
                    let frame = client.next().await.unwrap();
                    if frame["type"] == "subscribed" {
                        let cursor = frame["cursor"].as_str().unwrap();
                        let offset: u64 = cursor.split(':').nth(2).unwrap().parse().unwrap();
                        assert_eq!(Some(offset), ledger.offset(TOPIC));
                        break;
                    }
                    ledger.take(&frame);
                }
            }
            (client, ledger)
        });
    }
    let mut sessions = clients.join_all().await;
    stop.store(true, Relaxed);
    let total: u64 = publishers.join_all().await.iter().sum();
    for (client, ledger) in &mut sessions {
        client.until(ledger, TOPIC, total).await;
        assert_eq!(ledger.gaps(TOPIC), []);
    }
    drop(sessions);
    server.until_empty().await;
}

/// All clients of a node reconnect at the same time, while messages are published.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_sessions_that_join_at_once_recover() {
    let server = server().await;
    for n in 0..50 {
        server.hub.publish(TOPIC, &push(1_000_000_000 + n)).await.unwrap();
    }
    let mut ledger = Ledger::default();
    let open = Open::of("ann").topic(TOPIC);
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.checked(&mut ledger).await.unwrap();
    for n in 50..150 {
        server.hub.publish(TOPIC, &push(1_000_000_000 + n)).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut joins = JoinSet::new();
    for index in 0..1_000 {
        let (address, mut ledger) = (server.address, ledger.clone());
        joins.spawn(async move {
            let transport = if index % 4 == 0 { Transport::Events } else { Transport::WebSocket };
            let open = Open::of("ann").cursor(ledger.cursor());
            let mut client = Client::open(address, transport, &open).await;
            client.until(&mut ledger, TOPIC, 200).await;
            (client, ledger)
        });
    }
    for n in 150..300 {
        server.hub.publish(TOPIC, &push(1_000_000_000 + n)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    stop.store(true, Relaxed);
    let mut sessions = joins.join_all().await;
    for (client, ledger) in &mut sessions {
        client.until(ledger, TOPIC, 300).await;
        assert_eq!((ledger.received(TOPIC).len(), ledger.gaps(TOPIC)), (250, &[][..]));
    }
    drop((sessions, client));
    server.until_empty().await;
}
