//! Subscriptions to many topics, and to topics with long names.

use serde_json::json;

use crate::{
    support::{Client, Open, Transport, builder, config, server::Io},
    witness::{IO, Witnessed},
};

#[tokio::test]
async fn subscriptions_to_many_topics_are_limited() {
    for io in IO {
        let mut witness = Witnessed::with(io, builder(config().client_frames_per_second(10_000))).await;
        let mut client = Client::open(witness.server.address, Transport::WebSocket, &Open::of("eve")).await;
        client.next().await.unwrap();
        let (mut subscribed, mut refused) = (0, 0);
        for n in 0..10_000 {
            client.send(json!({"type": "subscribe", "topic": format!("public/{n}")})).await;
            match client.next().await.unwrap()["type"].as_str() {
                Some("subscribed") => subscribed += 1,
                Some("error") => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((subscribed, refused), (99, 9_901), "{io:?}");
        assert_eq!(witness.server.hub.stats().topics, 2 + 100);
        witness.check().await;
        drop(client);
        witness.end().await;
    }
}

/// The address of a request and a cursor name topics as well.
#[tokio::test]
async fn topics_in_the_address_and_in_the_cursor_are_limited() {
    for transport in [Transport::WebSocket, Transport::Events] {
        let witness = Witnessed::with(Io::Bare, builder(config())).await;
        let mut open = Open::of("eve");
        open.topics = (0..700).map(|n| format!("public/{n}")).collect();
        open.cursor = Some((0..700).map(|n| format!("public/c{n}:0:0:x")).collect::<Vec<_>>().join(","));
        let mut client = Client::open(witness.server.address, transport, &open).await;
        let welcome = client.next().await.unwrap();
        assert_eq!(welcome["topics"].as_array().unwrap().len(), 100, "{transport:?}");
        assert_eq!(witness.server.hub.stats().topics, 2 + 100);
        assert_eq!(client.next().await.unwrap()["code"], "too_many_topics");
        drop(client);
        witness.end().await;
    }
}

#[tokio::test]
async fn a_long_topic_is_malformed_and_its_error_is_short() {
    for io in IO {
        let witness = Witnessed::with(io, builder(config().max_client_frame(64 * 1024))).await;
        let mut client = Client::open(witness.server.address, Transport::WebSocket, &Open::of("eve")).await;
        client.next().await.unwrap();
        let long = format!("public/{}", "ж".repeat(2 * 1024));
        client.send(json!({"type": "subscribe", "topic": long})).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer["code"], "malformed", "{io:?}");
        assert!(answer.to_string().len() < 1_000, "{io:?}");
        client.send(json!({"type": "subscribe", "topic": ""})).await;
        assert_eq!(client.next().await.unwrap()["code"], "malformed");
        let filter = json!({"keys": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()});
        client.send(json!({"type": "subscribe", "topic": "public/a", "filter": filter})).await;
        assert_eq!(client.next().await.unwrap()["code"], "malformed");
        drop(client);
        witness.end().await;
    }
}
