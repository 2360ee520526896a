//! Sessions with a topic of their own, which ends with them.

use comms_ws::{Session, session_topic};
use serde_json::{Value, json};

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, publish, server::Io};

const TOPIC: &str = "user/ann";

async fn server() -> Server {
    let hub = builder(config()).build().unwrap();
    Server::start_with(hub, Io::Bare, |user| {
        let session = Session::new(user, vec![format!("user/{user}")]);
        Some(if user == "eve" { session } else { session.addressable() })
    })
    .await
}

/// Returns the names of the topics of a frame `welcome`, and its session.
fn read(welcome: &Value) -> (Vec<String>, String) {
    let topics = welcome["topics"].as_array().unwrap();
    let names = topics.iter().map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect();
    (names, session_topic(welcome["session"].as_str().unwrap()))
}

/// The cursor of the client names the topic of its last session. The new session has another one, and no error.
#[tokio::test]
async fn the_topic_of_the_last_session_is_ignored() {
    for transport in Transport::ALL {
        let server = server().await;
        let mut ledger = Ledger::default();
        let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
        let (_, first) = read(&client.checked(&mut ledger).await.unwrap());
        publish(&server.hub, &first, [1]).await;
        client.until(&mut ledger, &first, 1).await;
        let cursor = ledger.cursor();
        assert!(cursor.contains("session/"), "{cursor}");
        drop(client);
        publish(&server.hub, TOPIC, 1..=2).await;

        let mut client = Client::open(server.address, transport, &Open::of("ann").cursor(&cursor)).await;
        let (topics, second) = read(&client.checked(&mut ledger).await.unwrap());
        assert_eq!(topics, [TOPIC.to_owned(), second.clone()], "{transport:?}");
        assert_ne!(first, second);
        client.until(&mut ledger, TOPIC, 2).await;
        publish(&server.hub, &first, [2]).await;
        publish(&server.hub, &second, [1]).await;
        client.until(&mut ledger, &second, 1).await;
        assert_eq!(ledger.errors, [], "{transport:?}");

        // A session without a topic of its own gets no other one either.
        let mut eve = Client::open(server.address, transport, &Open::of("eve").cursor(&cursor)).await;
        let (topics, _) = read(&eve.next().await.unwrap());
        assert_eq!(topics, ["user/eve"], "{transport:?}");
        let mut refused = [eve.next().await.unwrap(), eve.next().await.unwrap()]
            .map(|frame| (frame["code"].clone(), frame["detail"].clone()));
        refused.sort_by_key(|(_, topic)| topic.to_string());
        assert_eq!(refused, [first.as_str(), TOPIC].map(|topic| (json!("forbidden"), json!(topic))));
    }
}

#[tokio::test]
async fn the_topic_of_another_session_is_forbidden() {
    let server = server().await;
    let mut ann = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    let (_, topic) = read(&ann.next().await.unwrap());
    for (n, user) in [(1, "bob"), (2, "eve")] {
        let mut other =
            Client::open(server.address, Transport::WebSocket, &Open::of(user).topic(&topic)).await;
        let (topics, _) = read(&other.next().await.unwrap());
        assert!(!topics.contains(&topic), "{user}");
        assert_eq!(other.next().await.unwrap()["code"], "forbidden", "{user}");
        other.send(json!({"type": "subscribe", "topic": topic})).await;
        assert_eq!(other.next().await.unwrap()["code"], "forbidden", "{user}");
        publish(&server.hub, &topic, [n]).await;
        assert_eq!(ann.next().await.unwrap()["topic"], topic.as_str());
        assert!(other.has_nothing().await, "{user}");
    }
}
