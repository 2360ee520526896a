//! What the history has, and what a filter or a full queue makes of it.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Filter, Hub, HubConfig, Push, Session, TopicOptions, backplane::Memory};
use serde_json::json;

use crate::support::{
    Client, Ledger, Open, Server, Transport, builder, config, key, large_push, publish, push, server::Io,
};

const TOPIC: &str = "user/ann";

/// Connects a client that has read `read` messages, and disconnects it.
async fn with_ledger(server: &Server, read: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, TOPIC, 1..=read).await;
    client.until(&mut ledger, TOPIC, read).await;
    ledger
}

/// Resumes over `transport`, publishes the message `next`, and reads up to it.
async fn resume(server: &Server, transport: Transport, ledger: &mut Ledger, next: u64) {
    let open = Open::of("ann").cursor(ledger.cursor());
    let mut client = Client::open(server.address, transport, &open).await;
    client.checked(ledger).await.unwrap();
    publish(&server.hub, TOPIC, [next]).await;
    while ledger.received(TOPIC).last() != Some(&next) {
        client.checked(ledger).await.unwrap();
    }
}

#[tokio::test]
async fn a_history_that_is_too_short_by_number_recovers_nothing() {
    for (missed, gaps) in [(10, &[][..]), (11, &[(3, 14)])] {
        let options = TopicOptions::default().history(10, Duration::from_secs(60));
        let server = Server::start(builder(config().topic("user/", options)).build().unwrap()).await;
        let mut ledger = with_ledger(&server, 3).await;
        publish(&server.hub, TOPIC, 4..4 + missed).await;
        resume(&server, Transport::Events, &mut ledger, 100).await;
        assert_eq!(ledger.gaps(TOPIC), gaps, "{missed} missed messages");
    }
}

#[tokio::test]
async fn a_history_that_is_too_old_recovers_nothing() {
    const AGE: Duration = Duration::from_secs(60);
    for (age, gaps) in [(AGE, &[][..]), (AGE + Duration::from_secs(1), &[(3, 5)])] {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let config = HubConfig::default().topic("user/", TopicOptions::default().history(10, AGE));
        let hub = Hub::builder(config, clock.clone()).cursor_keys([key(1)]).build().unwrap();
        let server = Server::start(hub).await;
        let mut ledger = with_ledger(&server, 3).await;
        publish(&server.hub, TOPIC, 4..=5).await;
        clock.advance(age);
        resume(&server, Transport::WebSocket, &mut ledger, 100).await;
        assert_eq!(ledger.gaps(TOPIC), gaps, "{age:?}");
        assert_eq!(ledger.received(TOPIC).len(), if gaps.is_empty() { 6 } else { 4 });
    }
}

/// The client had every message that was removed to make room.
#[tokio::test]
async fn a_topic_that_was_emptied_is_recovered() {
    for transport in Transport::ALL {
        let memory = Memory::new(Clock::system()).max_bytes(64 * 1024);
        let server = Server::start(builder(config()).backplane(memory).build().unwrap()).await;
        let mut ledger = with_ledger(&server, 3).await;
        for n in 0..10 {
            server.hub.publish("public/other", &large_push(n, 32 * 1024)).await.unwrap();
        }
        publish(&server.hub, TOPIC, 4..=8).await;
        resume(&server, transport, &mut ledger, 100).await;
        assert_eq!(ledger.gaps(TOPIC), [], "{transport:?}");
        assert_eq!(ledger.received(TOPIC), [1, 2, 3, 4, 5, 6, 7, 8, 100], "{transport:?}");
    }
}

/// The backplane forgot the topic while the client was away, and another epoch began.
#[tokio::test]
async fn another_epoch_recovers_nothing() {
    for transport in Transport::ALL {
        let memory = Memory::new(Clock::system()).max_bytes(64 * 1024);
        let server = Server::start(builder(config()).backplane(memory).build().unwrap()).await;
        let mut ledger = with_ledger(&server, 3).await;
        for n in 0..100 {
            let other = format!("public/other/{n}");
            server.hub.publish(&other, &large_push(n, 32 * 1024)).await.unwrap();
        }
        publish(&server.hub, TOPIC, 4..=8).await;
        resume(&server, transport, &mut ledger, 100).await;
        assert_eq!(ledger.gaps(TOPIC), [(0, 5)], "{transport:?}");
        assert_eq!(ledger.received(TOPIC), [1, 2, 3, 100], "{transport:?}");
    }
}

#[tokio::test]
async fn a_filter_holds_for_what_was_missed() {
    let server = Server::start(builder(config()).build().unwrap()).await;
    let topic = "public/a";
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    client.next().await.unwrap();
    client.send(json!({"type": "subscribe", "topic": topic})).await;
    let cursor = client.next().await.unwrap()["cursor"].as_str().unwrap().to_owned();
    client.send(json!({"type": "unsubscribe", "topic": topic})).await;
    client.next().await.unwrap();
    let numbered = async |range: std::ops::Range<u64>| {
        for n in range {
            let push = Push { key: Some(format!("key/{}", n % 3)), ..push(n) };
            server.hub.publish(topic, &push).await.unwrap();
        }
    };
    numbered(0..30).await;
    let filter = json!({"keys": ["key/1"], "events": ["test.happened.v1", "other"]});
    client.send(json!({"type": "subscribe", "topic": topic, "cursor": cursor, "filter": filter})).await;
    assert_eq!(client.next().await.unwrap()["recovered"], true);
    numbered(30..60).await;
    for n in (1..60).step_by(3) {
        assert_eq!(client.next().await.unwrap()["data"]["n"], n);
    }
    assert!(client.has_nothing().await);
}

#[tokio::test]
async fn a_filter_of_the_application_holds_for_what_was_missed() {
    let hub = builder(config()).build().unwrap();
    let server = Server::start_with(hub, Io::Bare, |user| {
        Some(Session::new(user, Vec::new()).topic_with("orders", Filter::default().key("order/7")))
    })
    .await;
    let mut client = Client::open(server.address, Transport::Events, &Open::of("ann")).await;
    client.next().await.unwrap();
    let Client::Events(events) = &client else { unreachable!() };
    let open = Open::of("ann").cursor(events.last_id());
    for n in 0..20 {
        let push = Push { key: Some(format!("order/{}", n % 10)), ..push(n) };
        server.hub.publish("orders", &push).await.unwrap();
    }
    let mut client = Client::open(server.address, Transport::Events, &open).await;
    let numbers = [client.next().await, client.next().await, client.next().await]
        .map(|frame| frame.unwrap()["data"]["n"].as_u64());
    assert_eq!(numbers, [None, Some(7), Some(17)]);
}

/// What was missed is more than the queue of a session takes. The session gets it piece by piece.
#[tokio::test]
async fn more_missed_messages_than_a_queue_takes_arrive() {
    let options = TopicOptions::default().history(5_000, Duration::from_secs(600));
    for io in [Io::Bare, Io::Wrapped] {
        for transport in [Transport::WebSocket, Transport::Events] {
            let hub = builder(config().topic("", options)).build().unwrap();
            let server = Server::start_with(hub, io, |user| {
                Some(Session::new(user, (0..20).map(|n| format!("topic/{n}")).collect()))
            })
            .await;
            let mut ledger = Ledger::default();
            let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
            client.checked(&mut ledger).await.unwrap();
            drop(client);
            // More messages than `queue_frames`, and in the other topics together as well; and more bytes than
            // `queue_bytes`.
            publish(&server.hub, "topic/0", 1..=3_000).await;
            for topic in 1..20 {
                let topic = format!("topic/{topic}");
                publish(&server.hub, &topic, 1..=100).await;
                server.hub.publish(&topic, &large_push(101, 100_000)).await.unwrap();
            }
            let open = Open::of("ann").cursor(ledger.cursor());
            let mut client = Client::open(server.address, transport, &open).await;
            for topic in 0..20 {
                let (topic, count) = (format!("topic/{topic}"), if topic == 0 { 3_000 } else { 101 });
                while ledger.offset(&topic) != Some(count) {
                    let frame = client.checked(&mut ledger).await;
                    assert!(frame.is_ok(), "{io:?} {transport:?}: closed with {frame:?} in {topic}");
                }
                assert_eq!(ledger.gaps(&topic), [], "{topic}");
            }
        }
    }
}

/// A message of a node with larger queues reaches the sessions of this one, or their clients would resume at it for ever.
#[tokio::test]
async fn a_message_that_is_larger_than_the_queue_arrives() {
    for io in [Io::Bare, Io::Wrapped] {
        for transport in Transport::ALL {
            let backplane = Memory::new(Clock::system());
            let publisher = builder(config()).backplane(backplane.clone()).build().unwrap();
            let hub = builder(config().queue_bytes(16 * 1024)).backplane(backplane).build().unwrap();
            let server =
                Server::start_with(hub, io, |user| Some(Session::new(user, vec![TOPIC.into()]))).await;
            let mut ledger = Ledger::default();
            let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
            client.checked(&mut ledger).await.unwrap();
            publisher.publish(TOPIC, &large_push(1, 200_000)).await.unwrap();
            client.until(&mut ledger, TOPIC, 1).await;
            drop(client);
            publisher.publish(TOPIC, &large_push(2, 200_000)).await.unwrap();
            let open = Open::of("ann").cursor(ledger.cursor());
            let mut client = Client::open(server.address, transport, &open).await;
            client.until(&mut ledger, TOPIC, 2).await;
            assert_eq!(ledger.received(TOPIC), [1, 2], "{io:?} {transport:?}");
        }
    }
}
