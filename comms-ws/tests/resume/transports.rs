//! From each transport to each other.

use serde_json::json;

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, publish};

const TOPIC: &str = "user/ann";

async fn server() -> Server {
    Server::start(builder(config()).build().unwrap()).await
}

/// Reads the first five messages, misses five more, and returns what the client has.
async fn interrupted(server: &Server, transport: Transport, open: Open) -> (Ledger, Option<String>) {
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, transport, &open).await;
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, TOPIC, 1..=5).await;
    client.until(&mut ledger, TOPIC, 5).await;
    let id = match &client {
        Client::Events(events) => Some(events.last_id().to_owned()),
        Client::WebSocket(_) => None,
    };
    drop(client);
    server.until("the first session has ended", |stats| stats.sessions == 0).await;
    publish(&server.hub, TOPIC, 6..=10).await;
    (ledger, id)
}

#[tokio::test]
async fn what_was_missed_arrives_once_on_every_transport() {
    for from in Transport::ALL {
        for to in Transport::ALL {
            let server = server().await;
            let (mut ledger, id) = interrupted(&server, from, Open::of("ann")).await;
            let cursor = id.unwrap_or_else(|| ledger.cursor());
            let mut client = Client::open(server.address, to, &Open::of("ann").cursor(cursor)).await;
            let welcome = client.checked(&mut ledger).await.unwrap();
            assert_eq!(welcome["topics"][0]["recovered"], true, "{from:?} to {to:?}: {welcome}");
            publish(&server.hub, TOPIC, [11]).await;
            client.until(&mut ledger, TOPIC, 11).await;
            assert_eq!(ledger.received(TOPIC), (1..=11).collect::<Vec<_>>(), "{from:?} to {to:?}");
            drop(client);
            server.until_empty().await;
        }
    }
}

#[tokio::test]
async fn a_cursor_in_subscribe_resumes_one_topic() {
    let server = server().await;
    let topic = "public/a";
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    client.checked(&mut ledger).await.unwrap();
    client.send(json!({"type": "subscribe", "topic": topic})).await;
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, topic, 1..=3).await;
    client.until(&mut ledger, topic, 3).await;
    client.send(json!({"type": "unsubscribe", "topic": topic})).await;
    let kept = ledger.clone();
    assert_eq!(client.checked(&mut ledger).await.unwrap()["type"], "unsubscribed");
    publish(&server.hub, topic, 4..=6).await;
    ledger = kept;
    // The cursor has a token of user/ann as well, which this frame does not concern.
    client.send(json!({"type": "subscribe", "topic": topic, "cursor": ledger.cursor()})).await;
    let subscribed = client.checked(&mut ledger).await.unwrap();
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    client.until(&mut ledger, topic, 6).await;
    publish(&server.hub, topic, [7]).await;
    client.until(&mut ledger, topic, 7).await;
    assert_eq!(ledger.received(topic), [1, 2, 3, 4, 5, 6, 7]);
}

/// Each id of an event stream names all topics: a client that stopped at an event of one topic resumes the other, too.
#[tokio::test]
async fn one_id_resumes_all_topics_of_an_event_stream() {
    for transport in [Transport::Events, Transport::Events2] {
        let server = server().await;
        let open = Open::of("ann").topic("public/a").topic("public/b,:~%ключ");
        let topics = [TOPIC, "public/a", "public/b,:~%ключ"];
        let mut ledger = Ledger::default();
        let mut client = Client::open(server.address, transport, &open).await;
        for n in 1..=10 {
            publish(&server.hub, topics[n as usize % 2], [n]).await;
        }
        client.until(&mut ledger, topics[0], 5).await;
        client.until(&mut ledger, topics[1], 5).await;
        let Client::Events(events) = &client else { unreachable!() };
        let id = events.last_id().to_owned();
        drop(client);
        for topic in topics {
            publish(&server.hub, topic, 11..=20).await;
        }
        // The topics stand in the id, and not in the address.
        let open = Open::of("ann").cursor(id);
        let mut client = Client::open(server.address, transport, &open).await;
        for (topic, count) in topics.into_iter().zip([15, 15, 10]) {
            client.until(&mut ledger, topic, count).await;
            assert_eq!(ledger.received(topic).len() as u64, count, "{topic}");
            assert_eq!(ledger.gaps(topic), [], "{topic}");
        }
    }
}

/// A message with its id that the stream did not complete was not handled by the client.
#[tokio::test]
async fn a_client_that_stops_within_what_it_has_received_resumes_where_it_stopped() {
    let server = server().await;
    publish(&server.hub, TOPIC, 1..=20).await;
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, Transport::Events, &Open::of("ann")).await;
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, TOPIC, 21..=40).await;
    client.until(&mut ledger, TOPIC, 30).await;
    let Client::Events(events) = &client else { unreachable!() };
    let open = Open::of("ann").cursor(events.last_id());
    let mut client = Client::open(server.address, Transport::Events, &open).await;
    client.until(&mut ledger, TOPIC, 40).await;
    assert_eq!(ledger.received(TOPIC), (21..=40).collect::<Vec<_>>());
}
