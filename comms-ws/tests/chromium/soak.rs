use std::{sync::{Arc, atomic::Ordering}, time::Duration};
use comms_ws::TopicOptions;
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::{Rng, SeedableRng}};
use crate::{browser::Browser, has_all, open, site::Site};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let seed: u64 = std::env::var("SEED").map_or(1, |s| s.parse().unwrap());
    let rounds: u64 = std::env::var("ROUNDS").map_or(60, |s| s.parse().unwrap());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let browser = Browser::start();
    let site = Site::start_with(|c| c.ping_interval(Duration::from_secs(1))
        .topic("user/", TopicOptions::default().history(20_000, Duration::from_secs(3000)))).await;
    let site = Arc::new(tokio::sync::Mutex::new(site));
    let url = site.lock().await.url.clone();
    let tab = { let site = site.lock().await; open(&browser, &site, "{socketRetry: 2000, backoff: {cap: 1000}}").await };
    let front = browser.open(&url).await;
    tab.show().await;
    tab.until("events.state === 'open'").await;
    tab.until("count('subscribed user/ann') === 1").await;
    let publisher = { let site = site.clone(); tokio::spawn(async move { loop { site.lock().await.publish(1).await; sleep(Duration::from_millis(15)).await; } }) };
    for round in 0..rounds {
        let wait = Duration::from_millis(random.next_u64() % 1500);
        let action = random.next_u64() % 9;
        match action {
            0 => { tab.set_offline(true).await; sleep(wait).await; tab.set_offline(false).await; }
            1 => { site.lock().await.network.cut(); sleep(wait).await; site.lock().await.reconnect(); }
            2 => { site.lock().await.network.stall(); sleep(wait * 3).await; site.lock().await.reconnect(); }
            3 => { let old = site.lock().await.replace().await; tokio::spawn(async move { old.drain(Duration::from_secs(3)).await }); }
            4 => { tab.set_frozen(true).await; sleep(wait * 2).await; tab.set_frozen(false).await; }
            5 => { let s = site.lock().await; s.proxy.blocks_sockets.fetch_xor(true, Ordering::Relaxed); s.hub.disconnect("nobody"); }
            6 => { front.show().await; sleep(wait * 2).await; tab.show().await; }
            7 => {
                // through the cache; the network must allow the other page
                site.lock().await.reconnect();
                tab.get("location.href = '/other'").await;
                tab.until("document.body?.textContent === 'another page'").await;
                sleep(wait).await;
                tab.get("history.back()").await;
                tab.until("window.isReady === true").await;
                if tab.get("window.events === undefined").await == true { println!("evicted"); 
                    panic!("evicted"); }
            }
            _ => sleep(wait).await,
        }
        sleep(Duration::from_millis(random.next_u64() % 1200)).await;
    }
    publisher.abort();
    let _ = publisher.await;
    let site = site.lock().await;
    site.reconnect();
    has_all(&tab, &site).await;
    println!("{} events, open ws {}, sse {}, failed reasons {}", site.published(), tab.get("count('open ws')").await, tab.get("count('open sse')").await,
      tab.get("(() => { const m = {}; for (const l of log) m[l] = (m[l] ?? 0) + 1; return m })()").await);
}
