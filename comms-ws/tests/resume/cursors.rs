//! Cursors that are forged, damaged, too long, or not allowed any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_ws::Session;
use serde_json::Value;

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, key, publish, server::Io};

const TOPIC: &str = "user/ann";

/// Returns a server with five messages, and the token of a client that has three of them.
async fn with_token() -> (Server, String) {
    let server = Server::start(builder(config()).build().unwrap()).await;
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, Transport::Events, &Open::of("ann")).await;
    client.checked(&mut ledger).await.unwrap();
    publish(&server.hub, TOPIC, 1..=3).await;
    client.until(&mut ledger, TOPIC, 3).await;
    let Client::Events(events) = &client else { unreachable!() };
    let token = events.last_id().to_owned();
    drop(client);
    publish(&server.hub, TOPIC, 4..=5).await;
    (server, token)
}

/// Connects with `cursor`, and publishes one message more. Returns what the client learns about its topic, and the numbers
/// of the messages that it gets.
async fn resume(server: &Server, transport: Transport, cursor: &str) -> (Value, Vec<u64>) {
    let mut client = Client::open(server.address, transport, &Open::of("ann").cursor(cursor)).await;
    let welcome = client.next().await.unwrap();
    let topic = welcome["topics"].as_array().unwrap().iter().find(|topic| topic["topic"] == TOPIC).unwrap();
    publish(&server.hub, TOPIC, [100]).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&100) {
        let frame = client.next().await.unwrap();
        numbers.extend(frame["data"]["n"].as_u64());
    }
    (topic["recovered"].clone(), numbers)
}

#[tokio::test]
async fn a_forged_or_damaged_cursor_recovers_nothing() {
    let (_, token) = with_token().await;
    let foreign = Server::start(builder(config()).cursor_keys([key(2)]).build().unwrap()).await;
    let mut client = Client::open(foreign.address, Transport::Events, &Open::of("ann")).await;
    client.next().await.unwrap();
    let Client::Events(events) = &client else { unreachable!() };
    let parts: Vec<&str> = token.split(':').collect();
    let (epoch, mac) = (parts[1], parts[3]);
    let bad = [
        format!("{TOPIC}:{epoch}:0:{mac}"),
        format!("{TOPIC}:{epoch}:2:{mac}"),
        format!("{TOPIC}:{epoch}:3:{}", "A".repeat(mac.len())),
        format!("{TOPIC}:{epoch}:3:"),
        format!("{TOPIC}:{epoch}:3"),
        format!("{TOPIC}:{epoch}"),
        format!("{TOPIC}:"),
        format!("{TOPIC}:{epoch}:3:{mac}~"),
        format!("{TOPIC}:{epoch}:3:{mac}~x"),
        format!("{TOPIC}:{epoch}:3:{mac}~99999999999999999999999"),
        format!("{TOPIC}:{epoch}:3:{mac}:1"),
        format!("{TOPIC}:+{}:3:{mac}", &epoch[1..]),
        token[..token.len() - 2].to_owned(),
        // The token of another topic, with the name of this one.
        token.replacen("ann", "bob", 1).replacen("bob", "ann", 1).replacen(":3:", ":03:x", 1),
        events.last_id().to_owned(),
    ];
    for cursor in bad {
        for transport in [Transport::WebSocket, Transport::Events] {
            let (server, _) = with_token().await;
            let (recovered, numbers) = resume(&server, transport, &cursor).await;
            assert_eq!((recovered, numbers), (Value::Bool(false), vec![100]), "{transport:?} {cursor}");
        }
    }
}

#[tokio::test]
async fn an_offset_after_the_tilde_moves_forward_only() {
    for (moved, expected) in [
        ("", &[4, 5, 100][..]),
        ("~1", &[4, 5, 100]),
        ("~3", &[4, 5, 100]),
        ("~4", &[5, 100]),
        ("~5", &[100]),
    ] {
        let (server, token) = with_token().await;
        let (recovered, numbers) = resume(&server, Transport::WebSocket, &format!("{token}{moved}")).await;
        assert_eq!((recovered, &numbers[..]), (Value::Bool(true), expected), "{moved}");
    }
    // An offset that the topic has not reached is not a place in it.
    let (server, token) = with_token().await;
    let (recovered, numbers) = resume(&server, Transport::WebSocket, &format!("{token}~6")).await;
    assert_eq!((recovered, numbers), (Value::Bool(false), vec![100]));
}

#[tokio::test]
async fn the_later_token_of_a_topic_counts() {
    for (earlier, later, recovered, expected) in [
        ("", "~4", true, &[5, 100][..]),
        ("~4", "", true, &[4, 5, 100]),
        ("~4", ":x", false, &[100]),
        (":x", "~4", true, &[5, 100]),
    ] {
        let (server, token) = with_token().await;
        let cursor = format!("{token}{earlier},{token}{later}");
        let resumed = resume(&server, Transport::WebSocket, &cursor).await;
        assert_eq!(resumed, (Value::Bool(recovered), expected.to_vec()), "{earlier} {later}");
    }
}

/// A client of a topic that it may not read any more gets an error, and no message.
#[tokio::test]
async fn a_topic_that_was_revoked_is_not_resumed() {
    for transport in Transport::ALL {
        let allowed = Arc::new(AtomicBool::new(true));
        let hub = builder(config()).build().unwrap();
        let grant = allowed.clone();
        let server = Server::start_with(hub, Io::Bare, move |user| {
            let grant = grant.clone();
            let session = Session::new(user, vec![format!("user/{user}")]);
            Some(session.allow(move |topic| topic == "public/a" && grant.load(Relaxed)))
        })
        .await;
        let mut ledger = Ledger::default();
        let open = Open::of("ann").topic("public/a");
        let mut client = Client::open(server.address, transport, &open).await;
        client.checked(&mut ledger).await.unwrap();
        publish(&server.hub, "public/a", 1..=3).await;
        client.until(&mut ledger, "public/a", 3).await;
        drop(client);
        publish(&server.hub, "public/a", 4..=6).await;
        allowed.store(false, Relaxed);
        let open = Open::of("ann").cursor(ledger.cursor());
        let mut client = Client::open(server.address, transport, &open).await;
        let welcome = client.next().await.unwrap();
        assert_eq!(welcome["topics"].as_array().unwrap().len(), 1, "{welcome}");
        let error = client.next().await.unwrap();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"forbidden".into()), "{error}");
        publish(&server.hub, "public/a", [7]).await;
        publish(&server.hub, TOPIC, [1]).await;
        let next = client.next().await.unwrap();
        assert_eq!(next["topic"], TOPIC, "no message of the topic that was revoked: {next}");
    }
}

/// The application may grant more topics than a client may add. The cursor of such a session names all of them.
#[tokio::test]
async fn a_cursor_of_more_topics_than_a_client_may_add_is_read_completely() {
    const TOPICS: usize = 150;
    let names = || (0..TOPICS).map(|n| format!("topic/{n}"));
    for transport in [Transport::WebSocket, Transport::Events] {
        let hub = builder(config()).build().unwrap();
        let server =
            Server::start_with(hub, Io::Bare, move |user| Some(Session::new(user, names().collect()))).await;
        let mut ledger = Ledger::default();
        let mut client = Client::open(server.address, transport, &Open::of("ann")).await;
        client.checked(&mut ledger).await.unwrap();
        drop(client);
        for topic in names() {
            publish(&server.hub, &topic, 1..=2).await;
        }
        let open = Open::of("ann").cursor(ledger.cursor());
        let mut client = Client::open(server.address, transport, &open).await;
        for topic in names() {
            while ledger.offset(&topic) != Some(2) {
                client.checked(&mut ledger).await.unwrap();
            }
            assert_eq!(ledger.gaps(&topic), [], "{topic}");
        }
    }
}

/// A cursor that is too long to be read stands for topics whose clients learn that they have not recovered.
#[tokio::test]
async fn a_cursor_that_is_too_long_recovers_nothing() {
    let (server, token) = with_token().await;
    let cursor = vec![token; 2_000].join(",");
    assert!(cursor.len() > 64 * 1024);
    let (recovered, numbers) = resume(&server, Transport::Events, &cursor).await;
    assert_eq!((recovered, numbers), (Value::Bool(false), vec![100]));
}

/// A topic that the application grants twice is one topic.
#[tokio::test]
async fn a_topic_that_was_granted_twice_is_resumed_once() {
    let hub = builder(config()).build().unwrap();
    let server = Server::start_with(hub, Io::Bare, |user| {
        Some(Session::new(user, vec![TOPIC.into(), TOPIC.into()]).topic_with(TOPIC, Default::default()))
    })
    .await;
    let mut ledger = Ledger::default();
    let open = Open::of("ann").topic(TOPIC);
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.checked(&mut ledger).await.unwrap();
    drop(client);
    publish(&server.hub, TOPIC, 1..=5).await;
    let open = Open::of("ann").topic(TOPIC).cursor(ledger.cursor());
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.until(&mut ledger, TOPIC, 5).await;
    publish(&server.hub, TOPIC, [6]).await;
    client.until(&mut ledger, TOPIC, 6).await;
    drop(client);
    server.until_empty().await;
}
