//! Who gets what, and in which order.

use comms_ws::close;
use serde_json::json;

use crate::support::{Server, event, millis};

#[tokio::test]
async fn an_event_goes_to_all_sessions_of_its_topic_and_to_no_other() {
    let server = Server::start(|_| {}).await;
    let (mut phone, mut laptop) = (server.client("ann").await, server.client("ann").await);
    let mut bob = server.client("bob").await;
    server.hub.publish("user/ann", &event(1, 0));
    server.hub.publish("user/nobody", &event(2, 0));
    for client in [&mut phone, &mut laptop] {
        let frame = client.next().await;
        assert_eq!(
            frame,
            json!({
                "type": "event", "topic": "user/ann", "id": "test/1", "event": "test.happened.v1",
                "time": "2026-11-21T07:00:00.123Z",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "data": {"n": 1, "pad": ""},
            })
        );
    }
    assert!(bob.is_silent().await && phone.is_silent().await);
    drop((phone, laptop, bob));
    server.until_empty().await;
}

#[tokio::test]
async fn the_welcome_says_what_is_heard_already() {
    let server = Server::start(|config| config.ping_interval = millis(7_000)).await;
    let mut client = server.handshake(&[("authorization", "Bearer ann")]).await.unwrap();
    let welcome = client.next().await;
    assert_eq!(welcome["topics"], json!(["user/ann"]));
    assert_eq!(welcome["ping_seconds"], 7);
    assert_eq!(welcome["session"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn topics_come_and_go_by_request() {
    let server = Server::start(|config| config.max_topics = 3).await;
    let mut client = server.client("ann").await;
    assert_eq!(client.subscribe("public/a").await, json!({"type": "subscribed", "topic": "public/a"}));
    server.hub.publish("public/a", &event(1, 0));
    assert_eq!(client.next().await["topic"], "public/a");
    assert_eq!(client.subscribe("public/a").await["type"], "subscribed", "twice is once");
    server.hub.publish("public/a", &event(2, 0));
    assert_eq!(client.next().await["data"]["n"], 2);
    assert!(client.is_silent().await);

    let refused = client.subscribe("user/bob").await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("forbidden")));
    server.hub.publish("user/bob", &event(3, 0));
    assert!(client.is_silent().await, "another's topic stays another's");
    assert_eq!(client.subscribe("").await["code"], "malformed");
    assert_eq!(client.subscribe(&format!("public/{}", "x".repeat(300))).await["code"], "malformed");
    assert_eq!(client.subscribe("public/b").await["type"], "subscribed");
    assert_eq!(client.subscribe("public/c").await["code"], "too_many_topics");

    client.say(json!({"type": "unsubscribe", "topic": "public/a"})).await;
    assert_eq!(client.next().await, json!({"type": "unsubscribed", "topic": "public/a"}));
    server.hub.publish("public/a", &event(4, 0));
    assert!(client.is_silent().await);
    assert_eq!(client.subscribe("public/c").await["type"], "subscribed", "there is room again");
}

/// The confirmation stands before the first event, also while events rain.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_heard_before_the_confirmation_and_nothing_is_missed_after_it() {
    let server = Server::start(|config| config.queue_frames = 100_000).await;
    let hub = server.hub.clone();
    let rain = tokio::spawn(async move {
        for n in 0..20_000 {
            hub.publish("public/rain", &event(n, 0));
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut client = server.client("ann").await;
    assert_eq!(client.subscribe("public/rain").await["type"], "subscribed");
    rain.await.unwrap();
    server.hub.publish("public/rain", &event(20_000, 0));
    let mut expected = None;
    loop {
        let n = client.next().await["data"]["n"].as_u64().unwrap();
        assert_eq!(n, *expected.get_or_insert(n), "in order, without a gap");
        expected = Some(n + 1);
        if n == 20_000 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscribers_hear_everything_in_order() {
    let server = Server::start(|config| config.max_sessions_per_principal = 1_000).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(server.client("ann").await);
    }
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                for n in 0..500 {
                    assert_eq!(client.next().await["data"]["n"], n);
                }
                client
            })
        })
        .collect();
    for n in 0..500 {
        server.hub.publish("user/ann", &event(n, 50));
        tokio::task::yield_now().await;
    }
    for reader in readers {
        drop(reader.await.unwrap());
    }
    server.until_empty().await;
}

#[tokio::test]
async fn a_drain_delivers_what_waits_then_says_goodbye_and_lets_nobody_in() {
    let server = Server::start(|_| {}).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    for n in 0..3 {
        server.hub.publish("user/ann", &event(n, 0));
    }
    let (ann_end, bob_end, ()) =
        tokio::join!(ann.rest(), bob.rest(), server.hub.drain(std::time::Duration::from_secs(5)));
    assert_eq!((ann_end.0.len(), ann_end.1), (3, Some(close::GOING_AWAY)));
    assert_eq!((bob_end.0.len(), bob_end.1), (0, Some(close::GOING_AWAY)));
    let refusal = server.refusal(&[("authorization", "Bearer ann")]).await;
    assert_eq!(refusal, (503, "/problems/draining".into()));
    server.until_empty().await;
}
