//! Interruptions in a random order, while events are published. `COMMS_CHROMIUM_ROUNDS=100` makes the test run longer.

use std::{sync::atomic::Ordering, time::Duration};

use comms_core::clock::Clock;
use comms_ws::TopicOptions;
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use tokio::time::sleep;

use crate::{
    browser::{Browser, Tab},
    has_all, open,
    site::Site,
};

/// Short waits, so that many connections are made.
const OPTIONS: &str = "{ socketRetry: 1000, backoff: { cap: 500 } }";

/// Publishes an event each 20 ms for a random time.
async fn publish(site: &Site, random: &mut Xoshiro256PlusPlus) {
    for _ in 0..random.next_u64() % 40 {
        site.publish(1).await;
        sleep(Duration::from_millis(20)).await;
    }
}

async fn interrupt(tab: &Tab, front: &Tab, site: &mut Site, random: &mut Xoshiro256PlusPlus) {
    match random.next_u64() % 8 {
        0 => {
            tab.set_offline(true).await;
            publish(site, random).await;
            tab.set_offline(false).await;
        }
        1 => {
            site.network.cut();
            publish(site, random).await;
            site.reconnect();
        }
        2 => {
            site.network.stall();
            publish(site, random).await;
            site.reconnect();
        }
        3 => {
            let old = site.replace().await;
            tokio::spawn(async move { old.drain(Duration::from_secs(2)).await });
        }
        4 => {
            tab.set_frozen(true).await;
            publish(site, random).await;
            tab.set_frozen(false).await;
        }
        5 => {
            front.show().await;
            publish(site, random).await;
            tab.show().await;
        }
        6 => {
            tab.leave("location.href = '/other'").await;
            tab.until("document.body?.textContent === 'another page'").await;
            publish(site, random).await;
            tab.leave("history.back()").await;
            tab.until("window.events !== undefined").await;
        }
        // From now on, the other transport is used.
        _ => {
            site.proxy.blocks_sockets.fetch_xor(true, Ordering::Relaxed);
            site.network.cut();
            site.reconnect();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_misses_nothing_and_repeats_nothing_under_random_interruptions() {
    let rounds = std::env::var("COMMS_CHROMIUM_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    let seed = u64::from_le_bytes(Clock::system().random());
    println!("seed {seed}");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let history = TopicOptions::default().history(100_000, Duration::from_secs(3_600));
    let mut site =
        Site::start_with(|config| config.ping_interval(Duration::from_secs(1)).topic("user/", history)).await;
    let browser = Browser::start();
    let front = browser.open(&site.url).await;
    let tab = open(&browser, &site, OPTIONS).await;
    tab.until("events.state === 'open'").await;
    for _ in 0..rounds {
        interrupt(&tab, &front, &mut site, &mut random).await;
        publish(&site, &mut random).await;
    }
    has_all(&tab, &site).await;
}
