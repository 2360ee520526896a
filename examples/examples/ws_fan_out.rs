//! Fan-out: one event to many WebSockets, and a slow reader that delays no other client.
//!
//! The problem: one event goes to many sockets. A server that waits for each socket is as slow as its slowest reader. A
//! server with unbounded queues runs out of memory. A server that drops events leaves its clients with stale data.
//!
//! The solution: `Hub` encodes an event once, and has a bounded queue for each session. A session whose queue is full is
//! closed with code 4408. Its client reconnects with its cursor (`ws_resume`).
//!
//! Prints a refused handshake, an event for one user, and the close codes of a slow reader and of a shutdown.
//!
//! Run: `cargo run -p examples --example ws_fan_out`. Nothing else is needed; server and clients are in this process.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Push, close};
use examples::sockets::{Client, push, serve};
use serde_json::json;

/// Events of 64 KiB, 16 MiB in total: more than the queue of a session and the buffers of its socket hold.
const EVENTS: usize = 250;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The time that a slow client gets for reading up to the close frame is that of the close handshake.
    let config = HubConfig::default().queue_bytes(256 * 1024).close_timeout(Duration::from_secs(20));
    let hub = Hub::new(config, Clock::system())?;
    let address = serve(&hub).await?;

    println!("-- a handshake without a token");
    let refused = Client::connect(address, None, "").await.err().context("the handshake is refused")?;
    println!("{refused}");

    println!("-- an event for ann reaches only her session");
    let mut ann = Client::connect(address, Some("ann"), "").await?;
    let mut bob = Client::connect(address, Some("bob"), "").await?;
    println!("ann: {}", ann.next().await?);
    bob.next().await?;
    println!("published: {:?}", hub.publish("user/ann", &push(0, "PAID")).await?);
    println!("ann: {}", ann.next().await?);

    println!("-- {EVENTS} events of 64 KiB for both: ann reads, bob does not");
    for n in 1..=EVENTS {
        let large = Push { data: json!({"pad": "x".repeat(64 * 1024)}), ..push(n, "") };
        hub.publish("news", &large).await?;
        // Each event arrives although bob's socket accepts no more bytes.
        let received = ann.next().await?;
        anyhow::ensure!(received["id"] == format!("order-service/{n}"), "events arrive in order");
    }
    println!("ann: received all {EVENTS}");
    let (received, code) = bob.rest().await;
    println!("bob: received the first {received}, then close code {}", code.unwrap_or_default());
    anyhow::ensure!(code == Some(close::TOO_SLOW) && received < EVENTS);

    println!("-- the server shuts down: every session is closed with a code");
    let (_, (_, code)) = tokio::join!(hub.drain(Duration::from_secs(5)), ann.rest());
    println!("ann: close code {}", code.unwrap_or_default());
    anyhow::ensure!(code == Some(close::GOING_AWAY));
    Ok(())
}
