//! More connections than a listener, or the process, may have.

use std::{net::IpAddr, time::Duration};

use futures::future::join_all;
use reference_app::platform::listeners::file_descriptors;
use reqwest::{Client, StatusCode};

use super::{
    Attacked, WAIT,
    attacks::{is_closed, until_closed},
};
use crate::support::{Buyer, eventually};

/// Keeps the connections of silent peers open for the whole test.
const LONG_HEAD_TIMEOUT: (&str, &str) = ("COMMS_LISTENERS__HEAD_TIMEOUT", "10m");

#[tokio::test]
async fn connections_of_one_address_are_bounded_by_every_listener_embedded() {
    let attacked =
        Attacked::start(&[LONG_HEAD_TIMEOUT, ("COMMS_LISTENERS__MAX_CONNECTIONS_PER_ADDRESS", "20")]).await;
    for target in attacked.targets {
        let limit = if target.name == "admin" { 32 } else { 20 };
        let mut open = Vec::new();
        for _ in 0..limit {
            open.push(target.connect().await);
        }
        for _ in 0..limit {
            let mut refused = target.connect().await;
            until_closed(&mut refused, WAIT, target.name).await;
        }
    }
}

/// The configured limits of connections are above the operating system's limit of open files.
#[tokio::test]
async fn a_process_without_descriptors_recovers_embedded() {
    file_descriptors::raise_limit();
    let mut attacked = Attacked::start(&[
        ("COMMS_LISTENERS__HEAD_TIMEOUT", "2s"),
        ("COMMS_LISTENERS__MAX_CONNECTIONS", "5000"),
        ("COMMS_LISTENERS__MAX_CONNECTIONS_PER_ADDRESS", "5000"),
    ])
    .await;
    let process = &mut attacked.marketplace.processes[0];
    assert!(process.terminate().await.success());
    process.limit_descriptors(300);
    process.spawn();
    attacked.marketplace.ready().await;
    attacked.serves("before").await;
    let peers = (0..500).map(|_| attacked.targets[0].connect());
    let silent = join_all(peers).await;
    let process = &attacked.marketplace.processes[0];
    eventually("the process runs out of descriptors", WAIT, async || {
        process.log().contains("connections cannot be accepted").then_some(())
    })
    .await;
    attacked.serves("behind").await;
    // The accept loop does not spin: it logs the warning at most once in 10 s.
    let warnings = process.log().matches("connections cannot be accepted").count();
    assert!(warnings <= 10, "{warnings}");
    drop(silent);
}

/// Returns an HTTP client with another address of this machine, 127.0.0.2.
fn client_with_another_address() -> Client {
    let address: IpAddr = [127, 0, 0, 2].into();
    Client::builder().local_address(address).timeout(Duration::from_secs(10)).build().unwrap()
}

#[tokio::test]
async fn probes_and_clients_are_answered_while_thousands_are_silent_embedded() {
    file_descriptors::raise_limit();
    let mut attacked = Attacked::start_with_tls(&[LONG_HEAD_TIMEOUT]).await;
    let process = &mut attacked.marketplace.processes[0];
    assert!(process.terminate().await.success());
    process.limit_descriptors(1_024);
    process.spawn();
    attacked.marketplace.ready().await;
    // Opens the gateway's connection to order-service before the attack, because both have the same address.
    attacked.serves("before").await;
    let mut silent = Vec::new();
    for target in attacked.targets.iter().filter(|target| target.name != "admin") {
        let peers = (0..500).map(|_| target.connect());
        silent.extend(join_all(peers).await);
    }
    assert_eq!(silent.len(), 2_000);

    let probe = Client::builder().timeout(Duration::from_secs(1)).pool_max_idle_per_host(0).build().unwrap();
    for path in ["/livez", "/readyz"] {
        let url = attacked.marketplace.processes[0].admin_url(path);
        eventually("five probes in a row are answered within a second", WAIT, async || {
            for _ in 0..5 {
                let answer = probe.get(&url).send().await.ok()?;
                assert_eq!(answer.status(), StatusCode::OK);
            }
            Some(())
        })
        .await;
    }
    let order = format!("{}/v1/orders", attacked.marketplace.gateway);
    let token = attacked.marketplace.buyer("ann").token;
    let request = client_with_another_address()
        .post(order)
        .bearer_auth(token)
        .header("idempotency-key", "beside")
        .json(&Buyer::body(100))
        .send();
    assert_eq!(request.await.unwrap().status(), StatusCode::ACCEPTED);
    // The silent peers still have at least 50 connections at each of the four listeners.
    let mut open = 0;
    for peer in &mut silent {
        open += usize::from(!is_closed(peer, Duration::from_millis(1)).await);
    }
    assert!(open >= 4 * 50, "{open}");
    let log = attacked.marketplace.processes[0].log();
    assert!(!log.contains("connections cannot be accepted"), "{log}");
}
