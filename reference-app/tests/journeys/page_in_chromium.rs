//! The web page in Chromium: an order is placed, and its statuses appear.

use crate::{
    browser::{Browser, Tab},
    support::{Deployment, Marketplace},
};

/// Shows the orders of `ann`, as after the name was typed.
const ENTER: &str = "document.getElementById('user').dispatchEvent(new Event('change'))";
const PLACE: &str = "document.getElementById('place').click()";

/// Waits until the page shows `orders` orders, each of them delivered and with its four changes of status.
async fn shows_delivered(tab: &Tab, orders: usize) {
    let cards = "[...document.querySelectorAll('#orders article')]";
    let text = "card.querySelector('.status').textContent + card.querySelectorAll('.history li').length";
    let all = vec!["Delivered4"; orders].join(",");
    tab.until(&format!("{cards}.map((card) => {text}).join() === '{all}'")).await;
}

async fn is_live(tab: &Tab, is_live: bool) {
    tab.until(&format!("(document.getElementById('connection')?.textContent === 'Live') === {is_live}"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium; run scripts/test"]
async fn chromium_page_shows_each_status_also_after_it_was_offline_embedded() {
    // Without a configured key, the program creates the development issuer.
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__PUBLIC_KEY_FILE", "")]).await;
    let browser = Browser::start();
    let tab = browser.open(&marketplace.gateway).await;
    tab.until("document.getElementById('orders-state')?.textContent.length > 0").await;
    tab.get(ENTER).await;
    is_live(&tab, true).await;
    tab.get(PLACE).await;
    shows_delivered(&tab, 1).await;

    // Another tab of the same user places an order while the first one is offline.
    tab.set_offline(true).await;
    is_live(&tab, false).await;
    let other = browser.open(&marketplace.gateway).await;
    is_live(&other, true).await;
    other.get(PLACE).await;
    other.until("document.querySelector('.card.new[data-tone=good]') !== null").await;
    shows_delivered(&tab, 1).await;
    tab.set_offline(false).await;
    shows_delivered(&tab, 2).await;
    is_live(&tab, true).await;
}
