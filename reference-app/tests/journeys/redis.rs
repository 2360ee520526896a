//! Sessions over Redis: the devices of one user at two processes, a device that moves, and an outage of Redis.

use std::time::Duration;

use comms_core::clock::Clock;
use serde_json::Value;

use crate::{
    support::{Buyer, Deployment, Marketplace, Socket, eventually, server},
    tcp_proxy::TcpProxy,
};

/// Starts a marketplace on Redis at `url`.
async fn start(deployment: Deployment, url: &str) -> Marketplace {
    let prefix = Clock::system().uuid_v7().simple().to_string();
    let keys = format!("[\"{}\"]", "k".repeat(32));
    let redis = [
        ("COMMS_REDIS__URL", url),
        ("COMMS_REDIS__PREFIX", &*prefix),
        ("COMMS_NOTIFICATION__CURSOR_KEYS", &*keys),
    ];
    Marketplace::start_with(deployment, &redis).await
}

/// Opens a socket, and returns it with the cursor of the user's topic and whether it has resumed.
async fn open(buyer: &Buyer, query: &str) -> (Socket, String, Value) {
    let mut socket = buyer.try_socket_with(query, Some(&buyer.token)).await.unwrap();
    let welcome = socket.frame().await.unwrap();
    let topic = &welcome["topics"][0];
    (socket, topic["cursor"].as_str().unwrap().to_owned(), topic["recovered"].clone())
}

fn offsets(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs PostgreSQL, Apache Kafka and Redis; run scripts/test"]
async fn the_devices_of_a_user_at_two_processes_receive_each_event_once_full_by_role() {
    let mut marketplace = start(Deployment::FullByRole, &server("COMMS_TEST_REDIS_URL")).await;
    let second = marketplace.start_another("notification").await;
    let (at_first, at_second) = (marketplace.buyer("ann"), marketplace.buyer_at("ann", &second));
    let (mut phone, cursor, _) = open(&at_first, "").await;
    let (mut browser, _, _) = open(&at_second, "").await;

    let placed = at_first.place("k-1", 100).await;
    let at_phone = phone.until(&placed.order_id, "DELIVERED").await;
    let at_browser = browser.until(&placed.order_id, "DELIVERED").await;
    assert_eq!(at_phone, at_browser, "whichever process consumed an event");
    assert_eq!(offsets(&at_phone), [1, 2, 3, 4]);
    for topic in ["order", "delivery"] {
        let topic = format!("{topic}/{}", placed.order_id);
        assert_eq!(browser.subscribe(&topic).await["type"], "subscribed");
    }

    // The phone loses its process, and an order later it is back at the other one.
    let first = marketplace.processes.iter_mut().find(|process| process.name == "notification").unwrap();
    assert!(first.terminate().await.success(), "{}", first.log());
    assert_eq!(phone.close_code().await, Some(1001));
    let placed = at_second.place("k-2", 100).await;
    let at_browser: Vec<Value> = browser.until(&placed.order_id, "DELIVERED").await;
    let query = format!("?cursor={}%7E4", cursor.replace(':', "%3A"));
    let (mut phone, _, recovered) = open(&at_second, &query).await;
    assert_eq!(recovered, true);
    let missed = phone.until(&placed.order_id, "DELIVERED").await;
    assert_eq!(missed, at_browser);
    assert_eq!(offsets(&missed), [5, 6, 7, 8], "each event once");
}

#[tokio::test]
#[ignore = "needs Redis; run scripts/test"]
async fn events_wait_while_redis_is_away_and_arrive_once_embedded() {
    let url = server("COMMS_TEST_REDIS_URL");
    let mut proxy = TcpProxy::to(url.strip_prefix("redis://").unwrap().parse().unwrap()).await;
    let marketplace = start(Deployment::Embedded, &format!("redis://{}", proxy.address())).await;
    let ann = marketplace.buyer("ann");
    let (mut socket, _, _) = open(&ann, "").await;

    proxy.close().await;
    let placed = ann.place("k", 100).await;
    let holds = marketplace.processes[0].admin_url("/holds");
    eventually("the event is held", Duration::from_secs(30), async || {
        let holds: Value = reqwest::get(&holds).await.ok()?.json().await.ok()?;
        let relays = holds["relays"].as_array()?;
        let held = relays.iter().filter(|relay| relay["relay"] == "notification-orders");
        let held: Vec<_> = held.flat_map(|relay| relay["parked"].as_array().unwrap()).collect();
        held.iter().any(|message| message["state"] == "held").then_some(())
    })
    .await;
    proxy.reopen().await;
    let events = socket.until(&placed.order_id, "DELIVERED").await;
    assert_eq!(offsets(&events), [1, 2, 3, 4], "each event once, in order");
}
