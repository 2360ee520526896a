//! Clients with 100 topics of long names, whose cursors are longer than a frame or a header may be.

use comms_core::Error;
use comms_ws::Session;
use serde_json::{Value, json};

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, publish, server::Io};

/// The limit of servers and proxies for a header.
const HEADER: usize = 8 * 1024;

fn topics() -> Vec<String> {
    (0..100).map(|n| format!("room/{n:03}/{}", "x".repeat(140))).collect()
}

/// A server that subscribes each session to all topics.
async fn server() -> Server {
    let hub = builder(config()).authenticate(async |token: String| match token.as_str() {
        "" => Err(Error::invalid("no token")),
        user => Ok(session(user)),
    });
    Server::start_with(hub.build().unwrap(), Io::Bare, |user| Some(session(user))).await
}

fn session(user: &str) -> Session {
    Session::new(user, topics())
}

/// Returns the topics of `welcome` with this value of `recovered`.
fn with(welcome: &Value, recovered: bool) -> Vec<String> {
    let topics = welcome["topics"].as_array().unwrap().iter();
    let those = topics.filter(|topic| topic["recovered"] == recovered);
    those.map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect()
}

/// The id of an event fits into a header. The topics for which it has no room have not recovered, and the client learns it.
#[tokio::test]
async fn an_event_stream_with_many_topics_can_reconnect() {
    for transport in [Transport::Events, Transport::Events2] {
        let server = server().await;
        let mut open = Open::of("ann");
        let mut client = Client::open(server.address, transport, &open).await;
        assert_eq!(client.next().await.unwrap()["topics"].as_array().unwrap().len(), 100);
        for round in 1..4 {
            for topic in topics() {
                publish(&server.hub, &topic, [round]).await;
                assert_eq!(client.next().await.unwrap()["topic"], topic);
            }
            let Client::Events(events) = &client else { unreachable!() };
            let id = events.last_id().to_owned();
            assert!(id.len() <= 6 * 1024 && id.ends_with(",*"), "{} {transport:?}", id.len());
            drop(client);
            let missed = topics();
            for topic in &missed {
                publish(&server.hub, topic, [100 + round]).await;
            }
            open.cursor = Some(id);
            client = Client::open(server.address, transport, &open).await;
            let welcome = client.next().await.unwrap();
            let (recovered, lost) = (with(&welcome, true), with(&welcome, false));
            assert_eq!(recovered.len() + lost.len(), 100, "each topic is one or the other");
            assert!(recovered.len() > 25 && lost.len() > 25, "{} {}", recovered.len(), lost.len());
            // What was missed arrives in the topics that have recovered, and in no other.
            let mut got = Vec::new();
            for _ in &recovered {
                got.push(client.next().await.unwrap()["topic"].as_str().unwrap().to_owned());
            }
            got.sort();
            assert_eq!(got, recovered, "{transport:?}");
        }
    }
}

/// A stream whose topics only the cursor of its URL names has all of them again, although the id has no room for them.
#[tokio::test]
async fn an_event_stream_keeps_the_topics_of_its_first_cursor() {
    let hub = builder(config()).build().unwrap();
    let server =
        Server::start_with(hub, Io::Bare, |user| Some(Session::new(user, Vec::new()).allow(|_| true)));
    let server = server.await;
    let mut ledger = Ledger::default();
    let topics: Vec<String> = (0..60).map(|n| format!("room/{n:03}/{}", "x".repeat(80))).collect();
    let mut open = Open::of("ann");
    open.topics.clone_from(&topics);
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.checked(&mut ledger).await.unwrap();
    let cursor = ledger.cursor();
    assert!(cursor.len() < HEADER);
    // As a browser, which repeats the URL and adds the header.
    let path = Open::of("ann").cursor(&cursor);
    let mut events = crate::support::events::Events::open_path(server.address, &path, None).await;
    assert_eq!(with(&events.next().await.unwrap(), true).len(), 60);
    let id = events.last_id().to_owned();
    assert!(id.ends_with(",*"), "{id}");
    drop(events);
    let mut events = crate::support::events::Events::open_path(server.address, &path, Some(&id)).await;
    let welcome = events.next().await.unwrap();
    assert_eq!(with(&welcome, true).len() + with(&welcome, false).len(), 60);
}

/// The frame `authenticate` has no room for the cursor: it is in the URL.
#[tokio::test]
async fn a_socket_without_a_token_resumes_from_its_url() {
    let server = server().await;
    let mut ledger = Ledger::default();
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
    client.checked(&mut ledger).await.unwrap();
    let cursor = ledger.cursor();
    assert!(cursor.len() > 2 * HEADER, "{}", cursor.len());
    for topic in topics() {
        publish(&server.hub, &topic, [1]).await;
    }
    // As many tokens as fit into a URL. `*` says that there are more.
    let tokens: Vec<&str> = cursor.split(',').take(30).collect();
    let open = Open::default().cursor(format!("{},*", tokens.join(",")));
    assert!(open.path(true).len() < HEADER, "{}", open.path(true).len());
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.send(json!({"type": "authenticate", "token": "ann"})).await;
    let welcome = client.next().await.unwrap();
    assert_eq!((with(&welcome, true).len(), with(&welcome, false).len()), (30, 70));
    // In the frame it ends the session.
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::default()).await;
    client.send(json!({"type": "authenticate", "token": "ann", "cursor": cursor})).await;
    assert_eq!(client.next().await, Err(comms_ws::close::TOO_BIG));
}
