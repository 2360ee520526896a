//! Resume: a client that reconnects gets what it missed, or learns that some of it is lost.
//!
//! The problem: mobile clients lose their connection all the time. An event that is published meanwhile is missing, and a
//! client that does not notice shows stale data.
//!
//! The solution: each event has an offset in its topic, and the hub keeps the last events. A client sends the signed cursor
//! of the server with the offset that it has handled: `<cursor>~<offset>`. It gets every event after that, in order, or
//! `recovered: false`: then it reads the state from the application.
//!
//! Prints a resumed session, one whose history was too short, and one with a forged cursor.
//!
//! Run: `cargo run -p examples --example ws_resume`. Nothing else is needed; server and clients are in this process.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, TopicOptions};
use examples::sockets::{Client, push, serve};
use serde_json::Value;

const TOPIC: &str = "user/ann";

/// Connects ann with `cursor`. Returns the client and what the server says about her topic.
async fn connect(address: SocketAddr, cursor: Option<&str>) -> anyhow::Result<(Client, Value)> {
    let query = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
    let mut client = Client::connect(address, Some("ann"), &query).await?;
    let mut welcome = client.next().await?;
    let topics = welcome["topics"].as_array_mut().context("the topics of the session")?;
    let own = topics.iter_mut().find(|topic| topic["topic"] == TOPIC).context("ann's topic")?;
    println!("ann: {own}");
    Ok((client, own.take()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The last 5 events of each topic, for at most 5 minutes.
    let options = TopicOptions::default().history(5, Duration::from_secs(300));
    let hub = Hub::new(HubConfig::default().topic("user/", options), Clock::system())?;
    let address = serve(&hub).await?;

    println!("-- ann reads an event, and loses her connection");
    let (mut client, own) = connect(address, None).await?;
    hub.publish(TOPIC, &push(1, "CREATED")).await?;
    let seen = client.next().await?;
    println!("ann: offset {}, {}", seen["offset"], seen["data"]["status"]);
    drop(client);
    // The client appends the offset to the opaque text of the server. In the address, `%7E` stands for `~`.
    let cursor = own["cursor"].as_str().context("a cursor")?.to_owned();
    let after = |offset: &Value| format!("{cursor}%7E{offset}");

    println!("-- three events later she is back, and gets each of them once");
    for (n, status) in [(2, "PAID"), (3, "SHIPPED"), (4, "DELIVERED")] {
        hub.publish(TOPIC, &push(n, status)).await?;
    }
    // A publisher that repeats an event changes nothing: its id is known.
    println!("a repetition: {:?}", hub.publish(TOPIC, &push(3, "SHIPPED")).await?);
    let (mut client, own) = connect(address, Some(&after(&seen["offset"]))).await?;
    anyhow::ensure!(own["recovered"] == true);
    for expected in ["PAID", "SHIPPED", "DELIVERED"] {
        let event = client.next().await?;
        println!("ann: offset {}, {}", event["offset"], event["data"]["status"]);
        anyhow::ensure!(event["data"]["status"] == expected);
    }
    drop(client);

    println!("-- ten events later the history is too short: she reads the state from the application");
    for n in 5..15 {
        hub.publish(TOPIC, &push(n, "CREATED")).await?;
    }
    let (mut client, own) = connect(address, Some(&after(&4.into()))).await?;
    anyhow::ensure!(own["recovered"] == false);
    hub.publish(TOPIC, &push(15, "PAID")).await?;
    println!("ann: offset {}, the next event after that", client.next().await?["offset"]);

    println!("-- a forged cursor is the same as a history that is too short");
    let forged = after(&4.into()).replacen("%7E", "x%7E", 1);
    let (_, own) = connect(address, Some(&forged)).await?;
    anyhow::ensure!(own["recovered"] == false);
    Ok(())
}
