//! Places orders in the background, some of which must fail, and checks the books at the end.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    account::{End, Purchase},
    books::Books,
    support::{Buyer, Deployment, Marketplace, eventually},
};

/// The largest number of requests in flight.
const CONCURRENCY: usize = 16;
const USERS: usize = 20;
/// The pieces of the ad that runs out of stock.
const STOCK: i64 = 20;
/// How long the orders may take to end after the last one is acknowledged.
const LIMIT: Duration = Duration::from_secs(180);

/// The settings of each marketplace: ads with known ids, a quick courier that refuses one of them, and breakers that do not
/// stay open for longer than the processes are away.
const SETTINGS: [(&str, &str); 5] = [
    ("COMMS_AD__DEMO", "true"),
    ("COMMS_ORDER__SHIPPING__DELIVERED_AFTER", "200ms"),
    ("COMMS_ORDER__SHIPPING__REFUSE_ADS", "[\"lamp-7\"]"),
    ("COMMS_POLICIES__PAYMENT__BREAKER__MAX_OPEN_DURATION", "5s"),
    ("COMMS_POLICIES__STOCK__BREAKER__MAX_OPEN_DURATION", "5s"),
];

/// Starts a marketplace for a load. `more` are more environment variables.
pub(crate) async fn marketplace(deployment: Deployment, more: &[(&str, &str)]) -> Marketplace {
    Marketplace::start_with(deployment, &[&SETTINGS, more].concat()).await
}

/// A task that places orders.
pub(crate) struct Load {
    acknowledged: Arc<AtomicUsize>,
    paused: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<(String, Purchase)>>,
    orders: usize,
    /// The ad that runs out of stock.
    scarce: String,
}

impl Load {
    /// Places `orders` orders, one every `pace`, each with retries under a key of its own.
    pub(crate) async fn start(marketplace: &Marketplace, orders: usize, pace: Duration) -> Self {
        let buyers: Vec<_> = (0..USERS).map(|n| marketplace.buyer(&format!("user-{n}"))).collect();
        let scarce = create_scarce(marketplace, &buyers[0]).await;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let count = acknowledged.clone();
        let paused = Arc::new(AtomicBool::new(false));
        let (idle, ad_id) = (paused.clone(), scarce.clone());
        let task = tokio::spawn(async move {
            let (gate, mut tasks) = (Arc::new(Semaphore::new(CONCURRENCY)), JoinSet::new());
            for n in 0..orders {
                while idle.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let permit = gate.clone().acquire_owned().await.unwrap();
                let (buyer, count) = (buyers[n % USERS].clone(), count.clone());
                let purchase = purchase(n, &ad_id);
                tasks.spawn(async move {
                    let order = place(&buyer, &format!("order-{n}"), &purchase).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(permit);
                    (order, purchase)
                });
                tokio::time::sleep(pace).await;
            }
            tasks.join_all().await
        });
        Self { acknowledged, paused, task, orders, scarce }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Places no further orders until [`Load::resume`].
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Resolves when `orders` more orders are acknowledged, or all are.
    pub(crate) async fn progress(&self, orders: usize) {
        let wanted = self.acknowledged() + orders;
        eventually("orders are acknowledged again", Duration::from_secs(90), async || {
            (self.acknowledged() >= wanted || self.is_finished()).then_some(())
        })
        .await;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until all orders are acknowledged and have ended, then checks the books and prints the numbers of orders.
    /// `sagas` are the variants that the orders must have, and `faults` is the number of injected faults.
    pub(crate) async fn check(self, marketplace: &Marketplace, sagas: &[&str], what: &str, faults: usize) {
        let placed =
            tokio::time::timeout(Duration::from_secs(300), self.task).await.expect("acknowledged in time");
        let placed: HashMap<String, Purchase> = placed.unwrap().into_iter().collect();
        assert_eq!(placed.len(), self.orders, "one order per key");
        let deadline = Instant::now() + LIMIT;
        loop {
            let wrong = match Books::read(&marketplace.databases).await {
                Ok(books) => books.faults(&placed, &self.scarce),
                Err(error) => vec![error.to_string()],
            };
            if wrong.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "not within {LIMIT:?}:\n{}", wrong.join("\n"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Time for redeliveries, which must have no second effect.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let books = Books::read(&marketplace.databases).await.unwrap();
        let wrong = books.faults(&placed, &self.scarce);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(books.sagas(), BTreeSet::from_iter(sagas.iter().copied()), "the variants of the orders");
        println!("{what}: {faults} times, {} orders acknowledged: {:?}", self.orders, books.statuses());
    }
}

/// Returns the purchase of the order `n`. Every 5th one is of the ad `scarce`, every 7th is above the limit of a payment, and
/// every 11th of an ad whose shipment is refused.
fn purchase(n: usize, scarce: &str) -> Purchase {
    let (ad_id, quantity, price, end) = match n {
        _ if n % 5 == 4 => (scarce, 1, 100, None),
        _ if n % 7 == 6 => ("tent-3", 200, 899_000, Some(End::Declined)),
        _ if n % 11 == 10 => ("lamp-7", 1, 4_990, Some(End::Refused)),
        _ => ("bike-42", 1 + n as i64 % 3, 129_900, Some(End::Delivered)),
    };
    Purchase { ad_id: ad_id.to_owned(), quantity, price, end }
}

/// Creates the ad that runs out of stock, and returns its id.
async fn create_scarce(marketplace: &Marketplace, seller: &Buyer) -> String {
    let ad = json!({"title": "Scarce", "price": {"minor": 100, "currency": "RUB"}, "stock": STOCK});
    let request = reqwest::Client::new().post(format!("{}/v1/ads", marketplace.gateway));
    let request = request.bearer_auth(&seller.token).header("idempotency-key", "scarce").json(&ad);
    let response = request.send().await.unwrap().error_for_status().unwrap();
    id_of(&response.json().await.unwrap(), "ad_id")
}

/// Places an order with retries under the same key, and returns its id. Retries server errors, 409 and requests without a
/// response; any other refusal fails the test.
async fn place(buyer: &Buyer, key: &str, purchase: &Purchase) -> String {
    let body = json!({
        "ad_id": purchase.ad_id,
        "quantity": purchase.quantity,
        "price": {"minor": purchase.price, "currency": "RUB"},
    });
    for _ in 0..1_200 {
        if let Ok(response) = buyer.post(Some(key), body.to_string()).await {
            match response.status().as_u16() {
                202 => {
                    if let Ok(body) = response.json::<Value>().await {
                        return id_of(&body, "order_id");
                    }
                }
                409 | 500.. => {}
                status => panic!("{status}: {:?}", response.text().await),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the order {key} was not accepted in 1,200 attempts");
}

/// Returns an id in the body of a response.
fn id_of(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap().to_owned()
}
