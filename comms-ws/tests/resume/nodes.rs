//! Two hubs on one backplane, as two nodes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_core::clock::Clock;
use comms_ws::{TopicOptions, backplane::Memory};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use tokio::task::{JoinSet, yield_now};

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, push};

const TOPICS: [&str; 3] = ["public/a", "public/b", "public/c"];

/// Clients hop between the nodes while both publish. Each has every message of all topics once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_hop_between_nodes_have_each_message_once() {
    let memory = Memory::new(Clock::system());
    let options = TopicOptions::default().history(1_000_000, std::time::Duration::from_secs(600));
    let config = config().topic("public/", options).queue_bytes(64 << 20).queue_frames(1_000_000);
    let node =
        async || Server::start(builder(config.clone()).backplane(memory.clone()).build().unwrap()).await;
    let nodes = [node().await, node().await];
    let stop = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let (hub, stop) = (node.hub.clone(), stop.clone());
        publishers.spawn(async move {
            let mut counts = [0; 3];
            while !stop.load(Relaxed) {
                for (topic, count) in TOPICS.iter().zip(&mut counts) {
                    hub.publish(topic, &push(index as u64 * 1_000_000 + *count)).await.unwrap();
                    *count += 1;
                }
                yield_now().await;
            }
            counts
        });
    }
    let addresses = [nodes[0].address, nodes[1].address];
    let mut clients = JoinSet::new();
    for seed in 0..16 {
        clients.spawn(async move {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let (mut ledger, mut open) = (Ledger::default(), Open::of("ann"));
            open.topics = TOPICS.map(str::to_owned).to_vec();
            for _ in 0..16 {
                let (node, transport) = (random.next_u64() as usize % 2, random.next_u64() as usize % 4);
                let mut client = Client::open(addresses[node], Transport::ALL[transport], &open).await;
                for _ in 0..1 + random.next_u64() % 200 {
                    client.checked(&mut ledger).await.unwrap();
                }
                open.cursor = Some(ledger.cursor());
            }
            (ledger, open)
        });
    }
    let clients = clients.join_all().await;
    stop.store(true, Relaxed);
    let counts = publishers.join_all().await;
    for (mut ledger, open) in clients {
        let mut client = Client::open(addresses[0], Transport::WebSocket, &open).await;
        for (index, topic) in TOPICS.iter().enumerate() {
            client.until(&mut ledger, topic, counts[0][index] + counts[1][index]).await;
            assert_eq!(ledger.gaps(topic), [], "{topic}");
        }
    }
    for node in &nodes {
        node.until_empty().await;
    }
}
