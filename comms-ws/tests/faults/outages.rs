//! A backplane that fails, or never answers, for a while.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, TopicOptions};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    backplane::{Access, Faults, Faulty},
    support::{Client, Ledger, Open, Server, Transport, builder, config, key, publish, push},
};

const TOPIC: &str = "user/ann";

/// A client that connects in an outage of the backplane gets its welcome frame after the outage, and misses nothing.
#[tokio::test]
async fn a_client_that_connects_in_an_outage_recovers() {
    for transport in Transport::ALL {
        for history in [false, true] {
            let backplane = Faulty::new(0);
            let server = Server::start(builder(config()).backplane(backplane.clone()).build().unwrap()).await;
            let mut ledger = Ledger::default();
            let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
            client.checked(&mut ledger).await.unwrap();
            drop(client);
            server.until_empty().await;
            publish(&server.hub, TOPIC, 1..=3).await;
            let (mut faults, fails) = (Faults::default(), Access::Fails);
            *(if history { &mut faults.history } else { &mut faults.subscribe }) = fails;
            faults.publish = fails;
            backplane.set(faults);
            assert!(server.hub.publish(TOPIC, &push(4)).await.is_err());
            let open = Open::of("ann").cursor(ledger.cursor());
            let mut client = Client::open(server.address, transport, &open).await;
            sleep(Duration::from_millis(150)).await;
            backplane.recover();
            publish(&server.hub, TOPIC, 4..=5).await;
            client.until(&mut ledger, TOPIC, 5).await;
            assert_eq!(ledger.received(TOPIC), [1, 2, 3, 4, 5], "{transport:?} {history}");
        }
    }
}

/// Accesses that never end are given up, so that the topic recovers. The clock is moved by the test.
#[tokio::test]
async fn accesses_that_never_end_hold_nothing_up_for_ever() {
    for (index, hangs) in ["subscribe", "history", "repair"].into_iter().enumerate() {
        let backplane = Faulty::new(index as u64);
        let clock = Clock::manual(Duration::from_secs(1_000));
        // A long interval, so that the sessions are not silent for too long.
        let config = HubConfig::default()
            .ping_interval(Duration::from_secs(3_600))
            .max_sessions_per_principal(1_000)
            .topic("", TopicOptions::default().history(1_000, Duration::from_secs(36_000)));
        let hub = Hub::builder(config, clock.clone()).cursor_keys([key(1)]).backplane(backplane.clone());
        let server = Server::start(hub.build().unwrap()).await;
        let mut ledger = Ledger::default();
        let mut first = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
        first.checked(&mut ledger).await.unwrap();
        let mut faults = Faults::default();
        match hangs {
            "subscribe" => faults.subscribe = Access::Hangs,
            _ => faults.history = Access::Hangs,
        }
        let mut clients = Vec::new();
        if hangs == "repair" {
            faults.loses = 1;
            backplane.set(faults);
            publish(&server.hub, TOPIC, [1]).await;
            backplane.set(Faults { loses: 0, ..faults });
            publish(&server.hub, TOPIC, [2]).await;
            clients.push((first, ledger.clone()));
        } else {
            drop(first);
            server.until_empty().await;
            publish(&server.hub, TOPIC, 1..=2).await;
            backplane.set(faults);
            // More clients than there are permits for readings.
            for _ in 0..100 {
                let open = Open::of("ann").cursor(ledger.cursor());
                let client = Client::open(server.address, Transport::WebSocket, &open).await;
                clients.push((client, ledger.clone()));
            }
        }
        sleep(Duration::from_millis(100)).await;
        // Without a report: the accesses that hang now end by their own limit.
        backplane.set(Faults::default());
        let moving = tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_secs(1));
                sleep(Duration::from_millis(5)).await;
            }
        });
        for (client, ledger) in &mut clients {
            client.until(ledger, TOPIC, 2).await;
            assert_eq!(ledger.received(TOPIC), [1, 2], "{hangs}");
        }
        moving.abort();
    }
}

/// Sessions that end while their joins wait for the backplane leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_in_an_outage_leave_nothing() {
    for hangs in [Access::Hangs, Access::Fails] {
        let backplane = Faulty::new(0);
        let server = Server::start(builder(config()).backplane(backplane.clone()).build().unwrap()).await;
        backplane.set(Faults { subscribe: hangs, history: hangs, ..Faults::default() });
        let mut clients = Vec::new();
        for index in 0..100 {
            let open = Open::of("ann").topic(format!("public/{index}"));
            clients.push(Client::open(server.address, Transport::ALL[index % 4], &open).await);
        }
        server.until("all have connected", |stats| stats.sessions == 100).await;
        drop(clients);
        server.until_empty().await;
        // A drain ends all tasks of the hub.
        tokio::time::timeout(Duration::from_secs(5), server.hub.drain(Duration::from_secs(2))).await.unwrap();
    }
}

/// Opens a session that has read the first two of four messages of `public/a` and left the topic.
pub(crate) async fn with_position(server: &Server) -> (Client, String) {
    let topic = "public/a";
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    client.next().await.unwrap();
    client.send(json!({"type": "subscribe", "topic": topic})).await;
    let mut ledger = Ledger::default();
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, topic, 1..=2).await;
    client.until(&mut ledger, topic, 2).await;
    client.send(json!({"type": "unsubscribe", "topic": topic})).await;
    assert_eq!(client.next().await.unwrap()["type"], "unsubscribed");
    publish(&server.hub, topic, 3..=4).await;
    (client, ledger.cursor())
}

/// A client that leaves a topic while it joins gets nothing of it afterwards.
#[tokio::test]
async fn a_topic_that_is_left_during_a_join_sends_nothing() {
    let backplane = Faulty::new(0);
    let server = Server::start(builder(config()).backplane(backplane.clone()).build().unwrap()).await;
    let (mut client, cursor) = with_position(&server).await;
    backplane.set(Faults { history: Access::Fails, ..Faults::default() });
    client.send(json!({"type": "subscribe", "topic": "public/a", "cursor": cursor})).await;
    client.send(json!({"type": "unsubscribe", "topic": "public/a"})).await;
    assert_eq!(client.next().await.unwrap()["type"], "unsubscribed");
    server.until("the topic is left", |stats| stats.topics == 1).await;
    backplane.recover();
    sleep(Duration::from_millis(300)).await;
    publish(&server.hub, "public/a", [5]).await;
    assert!(client.has_nothing().await);
}

/// A second subscription during a join takes its place: the client gets each message once.
#[tokio::test]
async fn a_second_subscription_during_a_join_repeats_nothing() {
    let backplane = Faulty::new(0);
    let server = Server::start(builder(config()).backplane(backplane.clone()).build().unwrap()).await;
    let (mut client, cursor) = with_position(&server).await;
    backplane.set(Faults { history: Access::Fails, ..Faults::default() });
    for _ in 0..3 {
        client.send(json!({"type": "subscribe", "topic": "public/a", "cursor": cursor})).await;
    }
    assert!(client.has_nothing().await);
    backplane.recover();
    assert_eq!(client.next().await.unwrap()["recovered"], true);
    for n in 3..=4 {
        assert_eq!(client.next().await.unwrap()["data"]["n"], n);
    }
    sleep(Duration::from_millis(300)).await;
    publish(&server.hub, "public/a", [5]).await;
    assert_eq!(client.next().await.unwrap()["data"]["n"], 5);
    assert!(client.has_nothing().await);
}
