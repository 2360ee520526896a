//! The sessions that receive a push, and the order of pushes.

use comms_ws::close;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Server, millis, push};

#[tokio::test]
async fn a_push_goes_to_all_sessions_of_its_topic_and_to_no_other() {
    let server = Server::start(|_| {}).await;
    let (mut phone, mut laptop) = (server.client("ann").await, server.client("ann").await);
    let mut bob = server.client("bob").await;
    server.hub.publish("user/ann", &push(1, 0)).await.unwrap();
    server.hub.publish("user/nobody", &push(2, 0)).await.unwrap();
    for client in [&mut phone, &mut laptop] {
        let frame = client.next().await;
        assert_eq!(
            frame,
            json!({
                "type": "event", "topic": "user/ann", "offset": 1, "id": "test/1", "event": "test.happened.v1",
                "time": "2026-11-21T07:00:00.123Z",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "data": {"n": 1, "pad": ""},
            })
        );
    }
    assert!(bob.receives_nothing().await && phone.receives_nothing().await);
    drop((phone, laptop, bob));
    server.until_empty().await;
}

#[tokio::test]
async fn the_welcome_lists_the_granted_topics() {
    let server = Server::start(|config| config.ping_interval = millis(7_000)).await;
    let mut client = server.handshake(&[("authorization", "Bearer ann")]).await.unwrap();
    let welcome = client.next().await;
    assert_eq!(welcome["topics"][0]["topic"], "user/ann");
    assert_eq!(welcome["topics"].as_array().unwrap().len(), 1);
    assert_eq!(welcome["ping_seconds"], 7);
    assert_eq!(welcome["session"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn a_client_subscribes_and_unsubscribes() {
    let server = Server::start(|config| config.max_topics = 3).await;
    let mut client = server.client("ann").await;
    let subscribed = client.subscribe("public/a").await;
    assert_eq!((&subscribed["type"], &subscribed["topic"]), (&json!("subscribed"), &json!("public/a")));
    server.hub.publish("public/a", &push(1, 0)).await.unwrap();
    assert_eq!(client.next().await["topic"], "public/a");
    assert_eq!(
        client.subscribe("public/a").await["type"],
        "subscribed",
        "a second subscription is confirmed"
    );
    server.hub.publish("public/a", &push(2, 0)).await.unwrap();
    assert_eq!(client.next().await["data"]["n"], 2);
    assert!(client.receives_nothing().await);

    let refused = client.subscribe("user/bob").await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("forbidden")));
    server.hub.publish("user/bob", &push(3, 0)).await.unwrap();
    assert!(client.receives_nothing().await, "the topic of another user");
    assert_eq!(client.subscribe("").await["code"], "malformed");
    assert_eq!(client.subscribe(&format!("public/{}", "x".repeat(300))).await["code"], "malformed");
    assert_eq!(client.subscribe("public/b").await["type"], "subscribed");
    assert_eq!(client.subscribe("public/c").await["code"], "too_many_topics");

    client.send(json!({"type": "unsubscribe", "topic": "public/a"})).await;
    assert_eq!(client.next().await, json!({"type": "unsubscribed", "topic": "public/a"}));
    server.hub.publish("public/a", &push(4, 0)).await.unwrap();
    assert!(client.receives_nothing().await);
    assert_eq!(client.subscribe("public/c").await["type"], "subscribed", "below the limit again");
}

/// The confirmation precedes the first push, also while pushes are published concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn no_push_arrives_before_the_confirmation_and_none_is_missed_after_it() {
    let server = Server::start(|config| {
        config.queue_frames = 100_000;
        config.queue_bytes = 64 * 1024 * 1024;
    })
    .await;
    let hub = server.hub.clone();
    let publisher = tokio::spawn(async move {
        for n in 0..20_000 {
            hub.publish("public/busy", &push(n, 0)).await.unwrap();
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut client = server.client("ann").await;
    assert_eq!(client.subscribe("public/busy").await["type"], "subscribed");
    publisher.await.unwrap();
    server.hub.publish("public/busy", &push(20_000, 0)).await.unwrap();
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
async fn many_subscribers_receive_every_push_in_order() {
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
        server.hub.publish("user/ann", &push(n, 50)).await.unwrap();
        tokio::task::yield_now().await;
    }
    for reader in readers {
        drop(reader.await.unwrap());
    }
    server.until_empty().await;
}

#[tokio::test]
async fn a_drain_delivers_queued_frames_closes_sessions_and_refuses_new_ones() {
    let server = Server::start(|_| {}).await;
    let (mut ann, mut bob) = (server.client("ann").await, server.client("bob").await);
    for n in 0..3 {
        server.hub.publish("user/ann", &push(n, 0)).await.unwrap();
    }
    let (ann_end, bob_end, ()) = tokio::join!(
        ann.read_to_end(),
        bob.read_to_end(),
        server.hub.drain(std::time::Duration::from_secs(5))
    );
    for ((frames, code), events) in [(ann_end, 3), (bob_end, 0)] {
        assert_eq!((frames.len(), code), (events + 1, Some(close::GOING_AWAY)));
        assert_eq!(frames[events]["type"], "drain");
        assert!((1..=5_000).contains(&frames[events]["retry_ms"].as_u64().unwrap()));
    }
    let refusal = server.refusal(&[("authorization", "Bearer ann")]).await;
    assert_eq!(refusal, (503, "/problems/draining".into()));
    // A kept connection would bring the next attempt to this server again.
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /v1/events HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\nauthorization: Bearer ann\r\n\r\n";
    kept.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = kept.read_to_string(&mut response);
    tokio::time::timeout(std::time::Duration::from_secs(10), read)
        .await
        .expect("the connection ends")
        .unwrap();
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    server.until_empty().await;
}
