//! Two nodes: one user's devices on different servers, and a client that moves from one to the other.
//!
//! The problem: a user's phone is connected to one server and the browser to another. An event that one server publishes
//! must reach both, once, and a server that restarts must not lose events of its clients.
//!
//! The solution: the hubs share a backplane, which delivers events to all nodes and keeps the history, and a key, with
//! which each node reads the cursors of the others. Here the backplane is in this process; servers use one on Redis.
//!
//! Prints one event at two devices, a repeated event, and a device that moves to the other node during a restart.
//!
//! Run: `cargo run -p examples --example ws_two_nodes`. Nothing else is needed; both nodes are in this process.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::clock::Clock;
use comms_ws::{
    CursorKey, Hub, HubConfig,
    backplane::{Memory, Published},
};
use examples::sockets::{Client, push, serve};

const TOPIC: &str = "user/ann";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    // In a service, a secret of the configuration.
    let key = CursorKey::random()?;
    let backplane = Memory::new(clock.clone());
    let node = || {
        let hub = Hub::builder(HubConfig::default(), clock.clone());
        hub.cursor_keys([key.clone()]).backplane(backplane.clone()).build()
    };
    let (left, right) = (node()?, node()?);
    let (left_address, right_address) = (serve(&left).await?, serve(&right).await?);

    println!("-- the phone is connected to the left node, the browser to the right one");
    let mut phone = Client::connect(left_address, Some("ann"), "").await?;
    let mut browser = Client::connect(right_address, Some("ann"), "").await?;
    let welcome = phone.next().await?;
    browser.next().await?;

    println!("-- the left node publishes");
    left.publish(TOPIC, &push(1, "PAID")).await?;
    let at_phone = phone.next().await?;
    println!("phone:   {at_phone}");
    let at_browser = browser.next().await?;
    println!("browser: {at_browser}");
    anyhow::ensure!(at_phone == at_browser, "the same offset on both nodes");

    println!("-- the right node publishes the same event again: a consumer that crashed before its commit");
    let repeated = right.publish(TOPIC, &push(1, "PAID")).await?;
    println!("{repeated:?}");
    anyhow::ensure!(matches!(repeated, Published::Duplicate(_)));

    println!("-- the left node shuts down, and the right one goes on publishing");
    let (_, (_, code)) = tokio::join!(left.drain(Duration::from_secs(5)), phone.rest());
    println!("phone:   close code {}", code.unwrap_or_default());
    right.publish(TOPIC, &push(2, "SHIPPED")).await?;
    println!("browser: {}", browser.next().await?);

    println!("-- the phone connects to the right node with the cursor of the left one");
    let topics = welcome["topics"].as_array().context("the topics of the session")?;
    let own = topics.iter().find(|topic| topic["topic"] == TOPIC).context("ann's topic")?;
    let cursor = own["cursor"].as_str().context("a cursor")?;
    // The offset of the last event that the phone has handled.
    let query = format!("?cursor={cursor}%7E{}", at_phone["offset"]);
    let mut phone = Client::connect(right_address, Some("ann"), &query).await?;
    println!("phone:   {}", phone.next().await?["topics"][0]);
    let missed = phone.next().await?;
    println!("phone:   {missed}");
    anyhow::ensure!(missed["data"]["status"] == "SHIPPED", "the phone gets what it missed, once");
    Ok(())
}
