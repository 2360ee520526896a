//! Servers that end, and others in their place.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{browser::Browser, has_all, open, opened, site::Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_resumes_at_a_server_that_was_restarted() {
    let (browser, mut site) = (Browser::start(), Site::start().await);
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    site.network.cut();
    // The event stream is tried too.
    tab.until("count('waiting') >= 4").await;
    site.publish(3).await;
    drop(site.replace().await);
    tab.until("events.state === 'open'").await;
    site.publish(3).await;
    has_all(&tab, &site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_moves_from_a_server_that_drains_without_a_gap() {
    for (blocks_sockets, transport) in [(false, "ws"), (true, "sse")] {
        let (browser, mut site) = (Browser::start(), Site::start().await);
        site.proxy.blocks_sockets.store(blocks_sockets, Ordering::Relaxed);
        let tab = open(&browser, &site, "{}").await;
        opened(&tab, transport, 1).await;
        // The old server keeps its connections without a session, over which a stream would reach it again.
        let old = site.replace().await;
        let drain = tokio::spawn(async move {
            old.drain(Duration::from_secs(5)).await;
            old.stats().sessions
        });
        while !drain.is_finished() {
            site.publish(1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(drain.await.unwrap(), 0);
        opened(&tab, transport, 2).await;
        site.publish(3).await;
        has_all(&tab, &site).await;
        if transport == "ws" {
            // The client waits as the server asks, and connects once.
            assert_eq!(site.proxy.sockets.load(Ordering::Relaxed), 2);
        }
    }
}
