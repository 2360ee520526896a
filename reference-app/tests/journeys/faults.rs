//! Held and parked messages: a held message continues when its cause is gone, a parked one is shown with its reason,
//! and neither stops the process or another order.

use std::{net::TcpListener, time::Duration};

use comms_core::clock::Clock;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    faulty_peer::{FaultyPeer, Mode},
    support::{Deployment, Marketplace, eventually},
};

const LIMIT: Duration = Duration::from_secs(30);

/// Returns the status and the body of a GET from the admin listener.
async fn admin(marketplace: &Marketplace, path: &str) -> (u16, Value) {
    let answer = reqwest::get(marketplace.processes[0].admin_url(path)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Returns a free address, with a port below the range of outgoing connections.
fn free_address() -> String {
    let clock = Clock::system();
    loop {
        let address = format!("127.0.0.1:{}", 20_000 + u16::from_le_bytes(clock.random()) % 10_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Starts the embedded marketplace. Its order-service calls payment-service through the returned peer.
async fn with_faulty_payment_service(mode: Mode) -> (Marketplace, FaultyPeer) {
    let payment = free_address();
    let peer = FaultyPeer::in_front_of("payment", &payment, "order", mode).await;
    let certificates = peer.certificates().display().to_string();
    let marketplace = Marketplace::start_with(
        Deployment::Embedded,
        &[
            ("COMMS_PAYMENT__LISTEN", &payment),
            ("COMMS_PAYMENT__URL", peer.url()),
            ("COMMS_TLS__DIRECTORY", &certificates),
            ("COMMS_POLICIES__PAYMENT__BREAKER", "false"),
            ("COMMS_CONSUMER__MAX_ATTEMPTS", "3"),
            ("COMMS_CONSUMER__BACKOFF", "50ms"),
            ("COMMS_CONSUMER__BACKOFF_CAP", "400ms"),
        ],
    )
    .await;
    (marketplace, peer)
}

#[tokio::test]
async fn a_deployment_fault_of_a_peer_holds_orders_until_it_is_repaired_embedded() {
    let (marketplace, peer) = with_faulty_payment_service(Mode::Forward).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    for (paid, mode) in [Mode::Unimplemented, Mode::Http(404), Mode::Http(401)].into_iter().enumerate() {
        peer.set(mode);
        let placed = ann.place(&format!("{mode:?}"), 100).await;
        let hold = eventually(&format!("{mode:?}: held for longer than all attempts"), LIMIT, async || {
            let (_, holds) = admin(&marketplace, "/holds").await;
            let hold = holds["consumers"].as_array().unwrap().first()?.clone();
            (hold["attempts"].as_u64().unwrap() > 3).then_some(hold)
        })
        .await;
        assert_eq!(
            (&hold["group"], &hold["kind"]),
            (&"order-commands".into(), &"misconfigured".into()),
            "{hold}"
        );
        assert_eq!(hold["key"], placed.order_id.as_str());
        assert!(hold["reason"].as_str().unwrap().contains("request the payment"), "{hold}");
        let part = eventually(&format!("{mode:?}: degraded"), LIMIT, async || {
            let (status, report) = admin(&marketplace, "/readyz").await;
            let part = report["parts"]["order-commands"].clone();
            (status == 200 && report["status"] == "degraded" && part["status"] == "degraded").then_some(part)
        })
        .await;
        let reason = part["reason"].as_str().unwrap();
        assert!(reason.contains("request the payment") && reason.contains(&placed.order_id), "{reason}");
        assert_eq!(marketplace.databases.counts().await.unwrap().payments, paid);
        // The relay does not wait for a long hold: after 10 s it parks the key with a time.
        if paid == 0 {
            eventually("the relay holds the key", LIMIT, async || {
                let (_, holds) = admin(&marketplace, "/holds").await;
                let relays = holds["relays"].as_array().unwrap();
                let commands = relays.iter().find(|relay| relay["relay"] == "order-commands").unwrap();
                let parked = commands["parked"].as_array().unwrap().first()?;
                (parked["state"] == "held" && parked["key"] == placed.order_id.as_str()).then_some(())
            })
            .await;
        }

        peer.set(Mode::Forward);
        socket.until(&placed.order_id, "PAID").await;
        eventually(&format!("{mode:?}: no message is held"), LIMIT, async || {
            let (_, holds) = admin(&marketplace, "/holds").await;
            let (_, report) = admin(&marketplace, "/readyz").await;
            (holds["consumers"] == json!([]) && report["status"] == "ready").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_payment_is_made_once_if_its_response_is_lost_embedded() {
    let (marketplace, peer) = with_faulty_payment_service(Mode::LosesResponses).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    eventually("payment-service was called twice", LIMIT, async || (peer.calls() >= 2).then_some(())).await;
    peer.set(Mode::Forward);
    socket.until(&placed.order_id, "PAID").await;
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!((counts.payments, counts.charges, counts.parked), (1, 1, 0));
}

#[tokio::test]
async fn a_lost_response_is_answered_504_and_the_retry_replays_the_order() {
    let order = free_address();
    let peer = FaultyPeer::in_front_of("order", &order, "gateway", Mode::LosesResponses).await;
    let certificates = peer.certificates().display().to_string();
    let more = [
        ("COMMS_ORDER__LISTEN", &*order),
        ("COMMS_ORDER__URL", peer.url()),
        ("COMMS_TLS__DIRECTORY", &*certificates),
    ];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &more).await;
    let ann = marketplace.buyer("ann");
    let order = ann.order(100).await;
    let answer = ann.post(Some("k"), order.to_string()).await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 504, "{text}");
    assert!(!text.to_lowercase().contains("nothing happened") && !text.contains("upstream"), "{text}");
    assert!(peer.calls() >= 2, "the gateway repeats a call that has a key");
    peer.set(Mode::Forward);
    let placed = ann.place("k", 100).await;
    assert!(placed.replayed, "the first attempt placed the order");
    assert_eq!(marketplace.databases.counts().await.unwrap().orders, 1);

    peer.set(Mode::LosesResponses);
    assert_eq!(ann.get(&placed.location).await.unwrap().status(), 504);
    assert_eq!(peer.calls(), 3, "the gateway repeats a read without a key");
}

/// Only the time limit of the policy counts as a failure of the peer, so the channel must not end the calls before it.
#[tokio::test]
async fn a_peer_that_never_answers_opens_the_breaker_embedded() {
    let payment = free_address();
    let peer = FaultyPeer::in_front_of("payment", &payment, "order", Mode::Silent).await;
    let certificates = peer.certificates().display().to_string();
    let more = [
        ("COMMS_PAYMENT__LISTEN", &*payment),
        ("COMMS_PAYMENT__URL", peer.url()),
        ("COMMS_TLS__DIRECTORY", &*certificates),
        ("COMMS_POLICIES__PAYMENT__TIMEOUT", "200ms"),
        ("COMMS_POLICIES__PAYMENT__BREAKER__OPEN_DURATION", "1s"),
        ("COMMS_POLICIES__PAYMENT__BREAKER__MAX_OPEN_DURATION", "1s"),
        ("COMMS_CONSUMER__BACKOFF_CAP", "1s"),
    ];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &more).await;
    let ann = marketplace.buyer("ann");
    for n in 0..5 {
        ann.place(&format!("silent-{n}"), 100).await;
    }
    eventually("the breaker opens", LIMIT, async || {
        let (_, channels) = admin(&marketplace, "/channels").await;
        let is_it = |channel: &&Value| channel["service"] == "order" && channel["peer"] == "payment";
        let channel = channels.as_array().unwrap().iter().find(is_it).unwrap();
        (channel["policy"]["breaker"]["state"] == "open").then_some(())
    })
    .await;
    assert!(peer.calls() >= 5, "the breaker counts failures in a row");
    peer.set(Mode::Forward);
    marketplace.settled(5, LIMIT).await;
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!((counts.payments, counts.charges, counts.parked), (5, 5, 0));
}

#[tokio::test]
async fn a_corrupt_event_parks_its_key_until_it_is_repaired_and_released_embedded() {
    let (mut marketplace, peer) = with_faulty_payment_service(Mode::Unimplemented).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let bad = ann.place("bad", 100).await;
    let file = marketplace.data_dir().join("order_service.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    let mut orders = SqliteConnection::connect_with(&options).await.unwrap();
    eventually("the order is in the list", LIMIT, async || {
        let list: Value = ann.get("/v1/orders").await.unwrap().json().await.unwrap();
        (list["orders"][0]["order_id"] == bad.order_id.as_str()).then_some(())
    })
    .await;
    let corrupt =
        "UPDATE comms_event SET payload = CAST('LOST' || payload AS BLOB) WHERE key = CAST($1 AS BLOB)";
    sqlx::query(corrupt).bind(&bad.order_id).execute(&mut orders).await.unwrap();
    peer.set(Mode::Forward);

    let parked = eventually("the order's payment is parked", LIMIT, async || {
        let (_, holds) = admin(&marketplace, "/holds").await;
        let relays = holds["relays"].as_array().unwrap();
        let payments = relays.iter().find(|relay| relay["relay"] == "order-payments").unwrap();
        assert_eq!(payments["service"], "payment-service");
        payments["parked"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(
        (&parked["state"], &parked["kind"], &parked["attempts"]),
        (&"parked".into(), &"internal".into(), &3.into())
    );
    let stream = format!("read version 1 of the stream order/{}", bad.order_id);
    assert!(parked["reason"].as_str().unwrap().contains(&stream), "{parked}");
    assert!(parked.get("payload").is_none() && parked.get("headers").is_none());
    let good = ann.place("good", 100).await;
    socket.until(&good.order_id, "PAID").await;
    let shown = ann.get(&bad.location).await.unwrap();
    let (status, text) = (shown.status(), shown.text().await.unwrap());
    assert!(
        status.is_server_error() && !text.contains("LOST") && !text.contains("version"),
        "{status} {text}"
    );
    let (status, report) = admin(&marketplace, "/readyz").await;
    let reason = report["parts"]["order-payments"]["reason"].as_str().unwrap();
    assert!(status == 200 && reason.contains(parked["key"].as_str().unwrap()), "{report}");

    let repair = "UPDATE comms_event SET payload = substr(payload, 5) WHERE key = CAST($1 AS BLOB)";
    sqlx::query(repair).bind(&bad.order_id).execute(&mut orders).await.unwrap();
    let key = json!({ "key": parked["key"] });
    let (status, _) = release(&marketplace, "payment-service/none", &key).await;
    assert_eq!(status, 404);
    let (status, _) = release(&marketplace, "payment-service/order-payments", &json!({})).await;
    assert_eq!(status, 422, "a missing key is not the key null");
    let (status, text) = release(&marketplace, "payment-service/order-payments", &key).await;
    let released: Value = serde_json::from_str(&text).unwrap();
    assert!(status == 200 && released["released"].as_u64().unwrap() >= 1, "{status} {text}");
    socket.until(&bad.order_id, "PAID").await;
    let ended = marketplace.processes[0].terminate().await;
    assert!(ended.success(), "{ended}");
}

async fn release(marketplace: &Marketplace, relay: &str, body: &Value) -> (u16, String) {
    let answer = marketplace.operate(&format!("/holds/{relay}/release"), Some(body)).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}
