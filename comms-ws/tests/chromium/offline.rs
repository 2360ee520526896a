//! The network of the page goes away and comes back.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{browser::Browser, has_all, open, opened, site::Site};

/// A wait between attempts that no test outlasts: the client reconnects because the browser says that it is online.
const PATIENT: &str = "{ backoff: { base: 600_000, cap: 600_000 }, random: () => 0.9 }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_resumes_a_socket_when_the_browser_is_online_again() {
    let (browser, site) = (Browser::start(), Site::start().await);
    let tab = open(&browser, &site, PATIENT).await;
    opened(&tab, "ws", 1).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    for round in 2..4 {
        tab.set_offline(true).await;
        tab.until("events.state === 'waiting'").await;
        site.publish(3).await;
        tab.set_offline(false).await;
        opened(&tab, "ws", round).await;
        has_all(&tab, &site).await;
    }
    assert_eq!(site.proxy.sockets.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_resumes_an_event_stream_when_the_browser_is_online_again() {
    let (browser, site) = (Browser::start(), Site::start().await);
    site.proxy.blocks_sockets.store(true, Ordering::Relaxed);
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "sse", 1).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    tab.set_offline(true).await;
    tab.until("events.transport === null").await;
    site.publish(3).await;
    tab.set_offline(false).await;
    opened(&tab, "sse", 2).await;
    has_all(&tab, &site).await;
    assert_eq!(tab.get("count('open ws')").await, 0);
    // Each stream followed two sockets that were refused: another network may have no such proxy.
    assert!(site.proxy.sockets.load(Ordering::Relaxed) >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_gives_up_a_socket_on_a_network_that_has_become_silent() {
    let site = Site::start_with(|config| config.ping_interval(Duration::from_secs(1))).await;
    let browser = Browser::start();
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    site.network.stall();
    site.publish(3).await;
    tab.until("count('no frame within two ping intervals') === 1").await;
    site.network.cut();
    site.reconnect();
    opened(&tab, "ws", 2).await;
    has_all(&tab, &site).await;
}
