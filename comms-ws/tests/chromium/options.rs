//! Compression, and the policy of the page.

use std::sync::atomic::Ordering;

use crate::{browser::Browser, has_all, open, opened, site::Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_reads_compressed_messages() {
    let site = Site::start_with(|config| config.compression(true)).await;
    let browser = Browser::start();
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    assert_eq!(site.proxy.compressed.load(Ordering::Relaxed), 1);
    site.publish(3).await;
    site.publish_padded(3, 100_000).await;
    has_all(&tab, &site).await;
    assert_eq!(tab.get("last.data.pad === 'ё'.repeat(50_000)").await, true);
}

/// All tests run under this policy. Here, a request to another origin shows that it is in force.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_runs_the_client_under_a_strict_policy() {
    let (browser, site) = (Browser::start(), Site::start().await);
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    tab.get("void new WebSocket('ws://127.0.0.1:1/')").await;
    tab.until("count('violation connect-src') === 1").await;
}
