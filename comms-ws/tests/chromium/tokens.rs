//! Tokens that expire or are refused.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::{browser::Browser, has_all, open, opened, site::Site};

/// The time in seconds until a session expires. The client refreshes its token in the last quarter of it.
const LIFE: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_refreshes_a_token_within_its_connection() {
    let (browser, site) = (Browser::start(), Site::start().await);
    site.proxy.life.store(LIFE, Ordering::Relaxed);
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    // At the second refresh, the first token has expired.
    tab.until("count('token') === 3").await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    assert_eq!(tab.get("[count('connecting'), count('token refused')]").await, json!([1, 0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_replaces_an_event_stream_before_its_token_expires() {
    let (browser, site) = (Browser::start(), Site::start().await);
    site.proxy.life.store(LIFE, Ordering::Relaxed);
    site.proxy.blocks_sockets.store(true, Ordering::Relaxed);
    let tab = open(&browser, &site, "{ WebSocket: null }").await;
    opened(&tab, "sse", 1).await;
    site.publish(3).await;
    opened(&tab, "sse", 2).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    assert_eq!(tab.get("[count('waiting'), count('token refused'), count('token')]").await, json!([0, 0, 2]));
    assert_eq!(site.proxy.streams.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_backs_off_while_its_token_is_refused() {
    let (browser, site) = (Browser::start(), Site::start().await);
    site.proxy.refuses_tokens.store(true, Ordering::Relaxed);
    let options = "{ random: () => 0.99, backoff: { base: 100, cap: 400 } }";
    let tab = open(&browser, &site, options).await;
    tab.until("waits.length >= 6").await;
    let waits = tab.get("waits.map((wait) => Math.round(wait / 99))").await;
    assert_eq!(waits.as_array().unwrap()[..5], [1, 2, 4, 4, 4].map(|wait| json!(wait)));
    assert_eq!(tab.get("count('token refused')").await, 1, "{}", tab.get("log").await);
    // Each attempt is one request at most.
    let attempts = tab.get("count('connecting')").await.as_u64().unwrap();
    let requests = site.proxy.sockets.load(Ordering::Relaxed) + site.proxy.streams.load(Ordering::Relaxed);
    assert!(requests <= attempts, "{requests} requests of {attempts} attempts");
    site.proxy.refuses_tokens.store(false, Ordering::Relaxed);
    tab.until("events.state === 'open'").await;
}
