//! A backplane that loses, repeats and reorders deliveries, and begins new epochs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_ws::{
    Hub, TopicOptions,
    backplane::{Position, Published},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    backplane::{Faults, Faulty},
    support::{Client, Ledger, Open, Server, Transport, builder, config, large_push, push},
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
        let mut client = Client::open(node.address, Transport::ALL[index % 4], &open).await;
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
    for seed in 0..6 {
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
    for seed in 0..6 {
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
    for seed in 0..6 {
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

/// A node may be behind: a client comes from another one with a position that its new node has not reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_hop_between_nodes_that_are_behind_have_each_message_once() {
    for seed in 0..4 {
        let backplane = Faulty::new(seed);
        let nodes = [node(&backplane, 100_000).await, node(&backplane, 100_000).await];
        backplane.set(Faults { loses: 3, reorders: 3, is_slow: true, ..Faults::default() });
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = {
            let (hub, stop) = (nodes[0].hub.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Relaxed) {
                    publish_until_stored(&hub, count).await;
                    count += 1;
                }
                count
            })
        };
        let addresses = [nodes[0].address, nodes[1].address];
        let mut clients = JoinSet::new();
        for index in 0..12 {
            clients.spawn(async move {
                let (mut ledger, mut open) = (Ledger::default(), Open::of("ann").topic(TOPIC));
                for hop in 0..16 {
                    let transport = Transport::ALL[(index + hop) % 4];
                    let mut client = Client::open(addresses[hop % 2], transport, &open).await;
                    for _ in 0..1 + (index + hop) % 7 {
                        client.checked(&mut ledger).await.unwrap();
                    }
                    open.cursor = Some(ledger.cursor());
                }
                (ledger, open)
            });
        }
        let clients = clients.join_all().await;
        stop.store(true, Relaxed);
        let total = publisher.await.unwrap();
        backplane.recover();
        for (mut ledger, open) in clients {
            let mut client = Client::open(addresses[1], Transport::WebSocket, &open).await;
            client.until(&mut ledger, TOPIC, total).await;
            assert_eq!(ledger.gaps(TOPIC), [], "seed {seed}");
        }
    }
}

/// A client has more than its node, which then catches up in several turns.
#[tokio::test]
async fn a_position_ahead_of_the_node_filters_all_turns_up_to_it() {
    let backplane = Faulty::new(0);
    let node = node(&backplane, 100_000).await;
    let (mut first, mut ledger) = clients(&node, 1).await.remove(0);
    node.hub.publish(TOPIC, &push(1)).await.unwrap();
    first.until(&mut ledger, TOPIC, 1).await;
    backplane.set(Faults { loses: 1, ..Faults::default() });
    for n in 2..=5 {
        // Each is a page of the history, and so a turn, of its own.
        node.hub.publish(TOPIC, &large_push(n, 200_000)).await.unwrap();
    }
    let cursor = ledger.cursor().replace("~1", "~4");
    let open = Open::of("ann").topic(TOPIC).cursor(cursor);
    let mut second = Client::open(node.address, Transport::WebSocket, &open).await;
    assert_eq!(second.next().await.unwrap()["topics"][1]["recovered"], true);
    assert_eq!(second.next().await.unwrap()["offset"], 5);
    let third = Open { cursor: Some(ledger.cursor().replace("~1", "~5")), ..open };
    let mut third = Client::open(node.address, Transport::WebSocket, &third).await;
    assert_eq!(third.next().await.unwrap()["topics"][1]["recovered"], true);
    backplane.recover();
    backplane.set(Faults { is_slow: true, ..Faults::default() });
    first.until(&mut ledger, TOPIC, 5).await;
    node.hub.publish(TOPIC, &push(6)).await.unwrap();
    for client in [&mut second, &mut third] {
        assert_eq!(client.next().await.unwrap()["offset"], 6, "what the client has is not repeated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_position_that_was_never_given_does_not_stop_a_topic() {
    let backplane = Faulty::new(1);
    let node = node(&backplane, 1_000).await;
    let clients = clients(&node, 4).await;
    let Published::New(Some(first)) = node.hub.publish(TOPIC, &push(1)).await.unwrap() else { panic!() };
    backplane.forge(TOPIC, Position { offset: u64::MAX, ..first });
    for n in 2..=100 {
        publish_until_stored(&node.hub, n).await;
    }
    for ledger in read_all(clients, 100).await {
        assert!(ledger.gaps(TOPIC).is_empty());
    }
}
