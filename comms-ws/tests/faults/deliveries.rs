//! A backplane that loses, repeats and reorders deliveries, and begins new epochs.

use std::time::Duration;

use comms_ws::{Hub, TopicOptions};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    backplane::{Faults, Faulty},
    support::{Client, Ledger, Open, Server, Transport, builder, config, push},
};

const TOPIC: &str = "public/a";

async fn node(backplane: &Faulty, kept: usize) -> Server {
    let options = TopicOptions::default().history(kept, Duration::from_secs(600));
    let config = config().topic("public/", options).queue_bytes(64 << 20).queue_frames(1_000_000);
    Server::start(builder(config).backplane(backplane.clone()).build().unwrap()).await
}

/// Publishes again until the backplane has answered.
async fn publish_until_stored(hub: &Hub, n: u64) {
    while hub.publish(TOPIC, &push(n)).await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Connects clients of all transports to the node.
async fn clients(node: &Server, count: usize) -> Vec<(Client, Ledger)> {
    let mut clients = Vec::new();
    for index in 0..count {
        let mut ledger = Ledger::default();
        let open = Open::of("ann").topic(TOPIC);
        let mut client = Client::open(node.address, Transport::ALL[index % 3], &open).await;
        client.checked(&mut ledger).await.unwrap();
        clients.push((client, ledger));
    }
    clients
}

/// Reads until each client is at `offset`. Returns the ledgers.
async fn read_all(clients: Vec<(Client, Ledger)>, offset: u64) -> Vec<Ledger> {
    let mut readers = JoinSet::new();
    for (mut client, mut ledger) in clients {
        readers.spawn(async move {
            client.until(&mut ledger, TOPIC, offset).await;
            ledger
        });
    }
    readers.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_message_arrives_once_and_in_order_although_deliveries_do_not() {
    for seed in 0..12 {
        let backplane = Faulty::new(seed);
        let nodes = [node(&backplane, 100_000).await, node(&backplane, 100_000).await];
        let mut all = clients(&nodes[0], 6).await;
        all.extend(clients(&nodes[1], 6).await);
        let is_slow = seed % 2 == 0;
        backplane.set(Faults {
            loses: 5,
            repeats: 5,
            reorders: 5,
            loses_answers: 10,
            is_slow,
            ..Faults::default()
        });
        let mut publishers = JoinSet::new();
        for (index, node) in nodes.iter().enumerate() {
            let hub = node.hub.clone();
            publishers.spawn(async move {
                for n in 0..200 {
                    publish_until_stored(&hub, index as u64 * 1_000 + n).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        publishers.join_all().await;
        backplane.recover();
        for ledger in read_all(all, 400).await {
            assert_eq!((ledger.gaps(TOPIC), ledger.received(TOPIC).len()), (&[][..], 400), "seed {seed}");
        }
        for node in &nodes {
            node.until_empty().await;
        }
    }
}

/// The history keeps fewer messages than are lost. A client is notified of each gap, and of nothing else: the ledger checks
/// that something is missing at each notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_are_notified_of_what_the_history_does_not_have_any_more() {
    let mut lost = 0;
    for seed in 0..8 {
        let backplane = Faulty::new(seed);
        let node = node(&backplane, 3).await;
        let all = clients(&node, 6).await;
        backplane.set(Faults { loses: 2, repeats: 5, is_slow: true, ..Faults::default() });
        for n in 0..200 {
            publish_until_stored(&node.hub, n).await;
        }
        backplane.recover();
        for ledger in read_all(all, 200).await {
            let missing: u64 = ledger.gaps(TOPIC).iter().map(|(before, last)| last - before).sum();
            assert_eq!(missing + ledger.received(TOPIC).len() as u64, 200, "seed {seed}");
            lost += missing;
        }
        node.until_empty().await;
    }
    assert!(lost > 0, "the test has gaps");
}

/// After a new epoch the clients are notified once, and then get its messages from the first on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_epoch_is_notified_and_then_complete() {
    for seed in 0..8 {
        let backplane = Faulty::new(seed);
        let node = node(&backplane, 100_000).await;
        let all = clients(&node, 6).await;
        backplane.set(Faults { loses: 5, repeats: 5, reorders: 5, is_slow: true, ..Faults::default() });
        for n in 0..50 {
            publish_until_stored(&node.hub, n).await;
        }
        backplane.change_epoch();
        for n in 100..230 {
            publish_until_stored(&node.hub, n).await;
        }
        backplane.recover();
        for ledger in read_all(all, 130).await {
            let of_new: Vec<u64> = ledger.received(TOPIC).iter().copied().filter(|n| *n >= 100).collect();
            assert_eq!(of_new, (100..230).collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(ledger.gaps(TOPIC), [(0, 0)], "seed {seed}: the end of the first epoch");
        }
        node.until_empty().await;
    }
}
