//! What deliveries and idle sessions allocate, and that nothing grows with the time that a hub runs.
//!
//! A program without libtest (`harness = false`), because the counter counts the allocations of the whole process, and
//! libtest's main thread allocates while a test runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[path = "support/mod.rs"]
mod support;

use std::{alloc::System, time::Duration};

use comms_core::clock::Clock;
use comms_ws::{Encoding, Hub, HubConfig, Session, TopicOptions, backplane::Memory};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::{Open, Server, builder, config, push, raw::Raw};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPIC: &str = "user/ann";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        deliveries(None).await;
        settle().await;
        deliveries(Some(1_000)).await;
        settle().await;
        idle_sessions().await;
        settle().await;
        histories().await;
        settle().await;
        subscriptions().await;
        settle().await;
        ended_sessions().await;
    });
}

/// The allocations of a turn do not depend on the number of subscribers, also if these have a window with room, apart from
/// the growth of the list of what is not acknowledged.
async fn deliveries(window: Option<usize>) {
    const TURNS: u64 = 200;
    let mut counts = Vec::new();
    for subscribers in [10, 110] {
        let server = Server::start(builder(config()).build().unwrap()).await;
        let mut clients = connect(&server, subscribers).await;
        if let Some(window) = window {
            subscribe(&mut clients, window).await;
        }
        turns(&server, &mut clients, 0..TURNS).await;
        let region = Region::new(ALLOCATOR);
        turns(&server, &mut clients, TURNS..2 * TURNS).await;
        let change = region.change();
        counts.push((change.allocations + change.reallocations) as f64);
    }
    let per_delivery = (counts[1] - counts[0]) / (TURNS * 100) as f64;
    println!(
        "allocations: {per_delivery:.4} for each delivery, {:.1} for each turn, window {window:?}",
        counts[0] / TURNS as f64
    );
    assert!(counts[0] > 0.0, "the allocator counts");
    assert!(per_delivery < 0.01, "a delivery allocates");
}

async fn connect(server: &Server, count: usize) -> Vec<Raw> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Raw::open(server.address, &Open::of("ann")).await);
    }
    let mut buffer = [0; 4096];
    for client in &mut clients {
        // The frame `welcome`.
        client.socket.readable().await.unwrap();
        while client.socket.try_read(&mut buffer).is_ok() {}
    }
    clients
}

/// Subscribes again, with a window. The clients acknowledge nothing.
async fn subscribe(clients: &mut [Raw], window: usize) {
    let mut buffer = [0; 4096];
    for client in clients {
        client.text(&format!(r#"{{"type":"subscribe","topic":"{TOPIC}","window":{window}}}"#)).await.unwrap();
        // The frame `subscribed`.
        client.socket.readable().await.unwrap();
        while client.socket.try_read(&mut buffer).is_ok() {}
    }
}

/// Publishes one message at a time, which all clients read.
async fn turns(server: &Server, clients: &mut [Raw], numbers: std::ops::Range<u64>) {
    let mut buffer = [0; 4096];
    for n in numbers {
        server.hub.publish(TOPIC, &push(n)).await.unwrap();
        for client in &mut *clients {
            client.socket.readable().await.unwrap();
            while client.socket.try_read(&mut buffer).is_ok() {}
        }
    }
}

/// What a session holds while nothing happens: its connection, its task and its memberships, but no buffer.
async fn idle_sessions() {
    const SESSIONS: usize = 500;
    const MOST: i64 = 5 * 1024;
    let server = Server::start(builder(config()).build().unwrap()).await;
    let first = connect(&server, 100).await;
    let region = Region::new(ALLOCATOR);
    let sessions = connect(&server, SESSIONS).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let held = held(&region) / SESSIONS as i64;
    // The sockets of the clients are in the same process.
    println!("an idle session and its client: {held} B");
    assert!(held < MOST, "{held} B");
    drop((first, sessions));
    server.until_empty().await;
}

/// A topic that is not used any more costs nothing for each message of the others.
async fn histories() {
    const MESSAGES: u64 = 50_000;
    let hub = Hub::new(HubConfig::default(), Clock::system()).unwrap();
    hub.publish("quiet", &push(0)).await.unwrap();
    publish(&hub, 0..1_000).await;
    let region = Region::new(ALLOCATOR);
    publish(&hub, 1_000..MESSAGES).await;
    let held = held(&region);
    println!("after {MESSAGES} messages: {held} B more");
    assert!(held < 64 * 1024, "{held} B");
}

async fn publish(hub: &Hub, numbers: std::ops::Range<u64>) {
    for n in numbers {
        hub.publish("busy", &push(n)).await.unwrap();
    }
}

/// A topic to which clients subscribe, and to which nothing is published, is not kept.
async fn subscriptions() {
    const TOPICS: usize = 20_000;
    let clock = Clock::manual(Duration::from_secs(1_000));
    let hub = Hub::new(HubConfig::default(), clock.clone()).unwrap();
    let open =
        |n: usize| drop(hub.open(Session::new("ann", vec![format!("topic/{n}")]), Encoding::Json, None));
    (0..100).for_each(open);
    let region = Region::new(ALLOCATOR);
    for n in 100..TOPICS {
        open(n);
        tokio::task::yield_now().await;
    }
    pass_two_minutes(&clock).await;
    let held = held(&region);
    println!("after subscriptions to {TOPICS} topics: {held} B more");
    assert!(held < 512 * 1024, "{held} B");
}

/// A session that has ended is not kept until its token expires.
async fn ended_sessions() {
    const SESSIONS: usize = 10_000;
    let clock = Clock::manual(Duration::from_secs(1_000));
    let config = HubConfig::default().topic("", TopicOptions::default().without_history());
    let hub = Hub::builder(config, clock.clone()).backplane(Memory::new(clock.clone())).build().unwrap();
    let open = |_| {
        let session = Session::new("ann", vec![TOPIC.into()]).expires_at_unix(1_000 + 24 * 3_600);
        drop(hub.open(session, Encoding::Json, None));
    };
    (0..100).for_each(open);
    let region = Region::new(ALLOCATOR);
    for n in 0..SESSIONS {
        open(n);
        // Without the yield, the limit of tokio on the work of a task delays each session, and the clock keeps room for their
        // timers.
        tokio::task::yield_now().await;
    }
    pass_two_minutes(&clock).await;
    let held = held(&region);
    println!("after {SESSIONS} sessions: {held} B more");
    assert!(held < 256 * 1024, "{held} B");
}

/// Lets the watch look at all sessions, which it does once in each ping interval.
async fn pass_two_minutes(clock: &Clock) {
    for _ in 0..120 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
}

/// Returns the bytes that were allocated since the begin of the region, and not freed.
fn held(region: &Region<'_, System>) -> i64 {
    let change = region.change();
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}

/// Lets the tasks of a hub that was dropped end.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
