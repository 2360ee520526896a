//! Two processes of notification-service, which share Redis: the devices of one user, and a device that moves.

use serde_json::Value;

use crate::support::{Buyer, Deployment, Marketplace, Socket, server};

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
    let (url, keys) = (server("COMMS_TEST_REDIS_URL"), format!("[\"{}\"]", "k".repeat(32)));
    let prefix = comms_core::clock::Clock::system().uuid_v7().simple().to_string();
    let redis = [
        ("COMMS_REDIS__URL", &*url),
        ("COMMS_REDIS__PREFIX", &prefix),
        ("COMMS_NOTIFICATION__CURSOR_KEYS", &keys),
    ];
    let mut marketplace = Marketplace::start_with(Deployment::FullByRole, &redis).await;
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
