//! Topics that are not ready for the frame `welcome`: the other topics do not wait for them.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Hub, Session};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    backplane::{Access, Faults, Faulty},
    support::{Client, Ledger, Open, Server, Transport, config, key, publish, server::Io},
};

const READY: &str = "user/ann";
const HANGS: &str = "public/a";

/// Moves the clock on until the test ends.
fn moving(clock: &Clock) -> tokio::task::JoinHandle<()> {
    let clock = clock.clone();
    tokio::spawn(async move {
        loop {
            clock.advance(Duration::from_millis(100));
            sleep(Duration::from_millis(2)).await;
        }
    })
}

/// A server on a manual clock, and a session that keeps the topic [`READY`] in use.
async fn server(clock: &Clock, backplane: &Faulty) -> (Server, Client) {
    let config = config().ping_interval(Duration::from_secs(3_600));
    let hub = Hub::builder(config, clock.clone()).cursor_keys([key(1)]).backplane(backplane.clone());
    let server = Server::start_with(hub.build().unwrap(), Io::Bare, |user| {
        let session = Session::new(user, vec![READY.into()]);
        Some(session.allow_async(|topic| {
            let hangs = topic == "public/hangs";
            async move {
                match hangs {
                    true => std::future::pending().await,
                    false => Ok(true),
                }
            }
        }))
    })
    .await;
    let mut other = Client::open(server.address, Transport::WebSocket, &Open::of("bob")).await;
    other.next().await.unwrap();
    (server, other)
}

/// The client gets `welcome` and the events of the topic that is ready. The other topic recovers when the backplane does.
#[tokio::test]
async fn a_topic_that_hangs_does_not_hold_welcome_up() {
    for transport in Transport::ALL {
        let (clock, backplane) = (Clock::manual(Duration::from_secs(1_000)), Faulty::new(1));
        let (server, _other) = server(&clock, &backplane).await;
        let mut ledger = Ledger::default();
        let open = Open::of("ann").topic(HANGS);
        let mut client = Client::open(server.address, transport, &open).await;
        client.checked(&mut ledger).await.unwrap();
        publish(&server.hub, HANGS, 1..=3).await;
        client.until(&mut ledger, HANGS, 3).await;
        drop(client);
        server.until("ann has gone", |stats| (stats.sessions, stats.topics) == (1, 1)).await;
        publish(&server.hub, HANGS, 4..=5).await;
        publish(&server.hub, READY, 1..=2).await;

        backplane.set(Faults { subscribe: Access::Hangs, ..Faults::default() });
        let moving = moving(&clock);
        let open = open.cursor(ledger.cursor());
        let mut client = Client::open(server.address, transport, &open).await;
        let welcome = client.checked(&mut ledger).await.unwrap();
        assert_eq!(welcome["topics"].as_array().unwrap().len(), 1, "{transport:?}");
        assert_eq!(
            (&welcome["topics"][0]["recovered"], &welcome["pending"]),
            (&json!(true), &json!([HANGS]))
        );
        client.until(&mut ledger, READY, 2).await;
        // A browser that loses the stream now presents the place in the pending topic again.
        if let Client::Events(events) = &client {
            assert!(events.last_id().contains(&format!("{HANGS}:")), "{}", events.last_id());
            let open = open.clone().cursor(events.last_id());
            client = Client::open(server.address, transport, &open).await;
            assert_eq!(client.checked(&mut ledger).await.unwrap()["pending"], json!([HANGS]));
        }
        backplane.recover();
        client.until(&mut ledger, HANGS, 5).await;
        publish(&server.hub, HANGS, 6..=7).await;
        client.until(&mut ledger, HANGS, 7).await;
        assert_eq!(ledger.received(HANGS), [1, 2, 3, 4, 5, 6, 7], "{transport:?}");
        assert_eq!(ledger.gaps(HANGS), []);
        moving.abort();
    }
}

/// A permission that is looked up for ever is unknown, which the client learns after `welcome`.
#[tokio::test]
async fn a_permission_that_hangs_does_not_hold_welcome_up() {
    for transport in [Transport::WebSocket, Transport::Events] {
        let (clock, backplane) = (Clock::manual(Duration::from_secs(1_000)), Faulty::new(1));
        let (server, _other) = server(&clock, &backplane).await;
        let moving = moving(&clock);
        let open = Open::of("ann").topic("public/hangs").topic(HANGS);
        let mut client = Client::open(server.address, transport, &open).await;
        let welcome = client.next().await.unwrap();
        let names = [0, 1].map(|index| welcome["topics"][index]["topic"].clone());
        assert_eq!(names, [json!(READY), json!(HANGS)], "{transport:?}");
        assert_eq!(welcome["pending"], json!(["public/hangs"]));
        let error = client.next().await.unwrap();
        assert_eq!((&error["code"], &error["detail"]), (&json!("unavailable"), &json!("public/hangs")));
        moving.abort();
    }
}

/// A pending topic can be left. Nothing of it arrives afterwards, and the hub forgets it.
#[tokio::test]
async fn a_pending_topic_can_be_left() {
    let (clock, backplane) = (Clock::manual(Duration::from_secs(1_000)), Faulty::new(1));
    let (server, _other) = server(&clock, &backplane).await;
    backplane.set(Faults { subscribe: Access::Hangs, ..Faults::default() });
    let moving = moving(&clock);
    let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann").topic(HANGS)).await;
    assert_eq!(client.next().await.unwrap()["pending"], json!([HANGS]));
    client.send(json!({"type": "unsubscribe", "topic": HANGS})).await;
    assert_eq!(client.next().await.unwrap()["type"], "unsubscribed");
    backplane.recover();
    publish(&server.hub, HANGS, [1]).await;
    publish(&server.hub, READY, [1]).await;
    assert_eq!(client.next().await.unwrap()["topic"], READY);
    server.until("the topic is forgotten", |stats| stats.topics == 1).await;
    moving.abort();
}
