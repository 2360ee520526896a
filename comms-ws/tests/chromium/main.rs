//! The client for browsers in Chromium, against a hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod browser;
mod network;
mod offline;
mod options;
mod random;
mod servers;
mod site;
mod tabs;
mod tokens;

use browser::{Browser, Tab};
use serde_json::Value;
use site::Site;

/// Opens the page of `site` in a new tab, and starts its client with options in JavaScript.
async fn open(browser: &Browser, site: &Site, options: &str) -> Tab {
    let tab = browser.open(&site.url).await;
    tab.until("window.isReady === true").await;
    tab.get(&format!("start({options})")).await;
    tab
}

/// Waits until the client has opened `count` connections over `transport`.
async fn opened(tab: &Tab, transport: &str, count: usize) {
    tab.until(&format!("count('open {transport}') === {count}")).await;
}

/// Waits until all events have arrived. Each must have arrived once and in its order, and none may be missed.
async fn has_all(tab: &Tab, site: &Site) {
    tab.until(&format!("numbers.length >= {}", site.published())).await;
    assert_eq!(tab.get("numbers").await, (1..=site.published()).collect::<Value>());
    let bad = tab.get("log.filter((one) => /^(missed|violation|error)/.test(one))").await;
    assert_eq!(bad, serde_json::json!([]), "{}", tab.get("log").await);
}
