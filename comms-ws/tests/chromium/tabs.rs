//! The tabs of one user: several, hidden, frozen, and kept in the cache for going back.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;

use crate::{browser::Browser, has_all, open, opened, site::Site};

/// The timers of a hidden tab run once a minute after 1 s, and not after 5 minutes only.
const THROTTLED: &str = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1";

/// Measures the longest time between two calls of a timer of 100 ms.
const TICK: &str = "window.gap = 0; window.ticked = performance.now();
    void setInterval(() => ((gap = Math.max(gap, performance.now() - ticked)), (ticked = performance.now())), 100)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_tabs_of_one_user_share_the_limit_of_sessions() {
    let site = Site::start_with(|config| config.max_sessions_per_principal(2)).await;
    let browser = Browser::start();
    let one = open(&browser, &site, "{}").await;
    let two = open(&browser, &site, "{}").await;
    opened(&one, "ws", 1).await;
    opened(&two, "ws", 1).await;
    site.publish(3).await;
    has_all(&one, &site).await;
    has_all(&two, &site).await;
    let three = open(&browser, &site, "{}").await;
    three.until("count('waiting') >= 3").await;
    two.close().await;
    three.until("events.state === 'open'").await;
    assert_eq!(site.hub.stats().sessions, 2);
    site.publish(3).await;
    has_all(&one, &site).await;
    three.until("numbers.length === 3").await;
    assert_eq!(three.get("numbers").await, json!([4, 5, 6]));
    assert_eq!(one.get("count('open ws')").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_hidden_tab_keeps_its_socket() {
    let site = Site::start_with(|config| config.ping_interval(Duration::from_secs(2))).await;
    let browser = Browser::start_with(&[THROTTLED]);
    let tab = open(&browser, &site, "{}").await;
    opened(&tab, "ws", 1).await;
    let front = browser.open(&site.url).await;
    tab.until("document.visibilityState === 'hidden'").await;
    tab.get(TICK).await;
    tab.until("gap > 900").await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    // No event for several ping intervals: the client learns only by a late timer that the socket was silent.
    tokio::time::sleep(Duration::from_secs(5)).await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    front.close().await;
    tab.show().await;
    tab.until("document.visibilityState === 'visible'").await;
    site.publish(3).await;
    has_all(&tab, &site).await;
    assert_eq!(tab.get("count('connecting')").await, 1, "{}", tab.get("log").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_frozen_tab_resumes() {
    for blocks_sockets in [false, true] {
        let site = Site::start_with(|config| config.ping_interval(Duration::from_secs(1))).await;
        let browser = Browser::start();
        site.proxy.blocks_sockets.store(blocks_sockets, Ordering::Relaxed);
        let tab = open(&browser, &site, "{}").await;
        tab.until("events.state === 'open'").await;
        tab.set_frozen(true).await;
        site.publish(3).await;
        // The time after which a silent connection is given up.
        tokio::time::sleep(Duration::from_secs(3)).await;
        // More than the queue of a session takes.
        site.publish_padded(80, 50_000).await;
        tab.set_frozen(false).await;
        has_all(&tab, &site).await;
        site.publish(3).await;
        has_all(&tab, &site).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_page_that_is_restored_from_the_cache_resumes() {
    for blocks_sockets in [false, true] {
        let (browser, site) = (Browser::start(), Site::start().await);
        site.proxy.blocks_sockets.store(blocks_sockets, Ordering::Relaxed);
        let tab = open(&browser, &site, "{}").await;
        tab.until("events.state === 'open'").await;
        site.publish(3).await;
        has_all(&tab, &site).await;
        tab.leave("location.href = '/other'").await;
        tab.until("document.body.textContent === 'another page'").await;
        // A page in the cache would keep its session for minutes.
        site.until_sessions(0).await;
        site.publish(3).await;
        tab.leave("history.back()").await;
        tab.until("count('restored') === 1").await;
        has_all(&tab, &site).await;
        site.publish(3).await;
        has_all(&tab, &site).await;
    }
}
