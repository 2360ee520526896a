//! What the tests on sockets share: a server, clients of each transport, and a ledger that proves what a client has.
#![allow(dead_code, unused_imports, reason = "no test uses all of it")]

pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod http2;
pub(crate) mod ledger;
pub(crate) mod raw;
pub(crate) mod server;

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{CursorKey, Hub, HubBuilder, HubConfig, Push};
use serde_json::json;

pub(crate) use client::{Client, Open, Transport};
pub(crate) use ledger::Ledger;
pub(crate) use server::Server;

/// The limit of a wait that ends a test which hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Limits that no test of deliveries reaches, and a short close handshake.
pub(crate) fn config() -> HubConfig {
    HubConfig::default()
        .max_sessions_per_principal(10_000)
        .client_frames_per_second(1_000)
        .write_timeout(LIMIT)
        .close_timeout(Duration::from_millis(200))
}

/// Returns a builder on the system clock whose cursors are valid on all hubs of a test.
pub(crate) fn builder(config: HubConfig) -> HubBuilder {
    Hub::builder(config, Clock::system()).cursor_keys([key(1)])
}

pub(crate) fn key(byte: u8) -> CursorKey {
    CursorKey::new(&[byte; 32]).unwrap()
}

/// Returns the push with the number `n`.
pub(crate) fn push(n: u64) -> Push {
    Push::new(format!("test/{n}"), "test.happened.v1", json!({"n": n}))
}

/// Returns the push with the number `n` and about `bytes` of content.
pub(crate) fn large_push(n: u64, bytes: usize) -> Push {
    Push::new(format!("test/{n}"), "test.happened.v1", json!({"n": n, "pad": "x".repeat(bytes)}))
}

/// Publishes the pushes with the numbers `numbers` to `topic`.
pub(crate) async fn publish(hub: &Hub, topic: &str, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        hub.publish(topic, &push(n)).await.unwrap();
    }
}
