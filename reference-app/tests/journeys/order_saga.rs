//! The saga of an order in both variants: how an order can end, and what is left of it in each service.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Buyer, Deployment, Marketplace, eventually};

const LIMIT: Duration = Duration::from_secs(60);
const PRICE: i64 = 100;
/// The events of an order that is delivered, and of one that is paid and then cancelled.
const DELIVERED: [&str; 6] = ["placed", "payment.started", "paid", "reserved", "shipped", "delivered"];
const REFUNDED: [&str; 5] = ["placed", "payment.started", "paid", "cancelled", "refunded"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Orchestrated,
    Choreographed,
}
use Variant::{Choreographed, Orchestrated};

impl Variant {
    const fn setting(self) -> (&'static str, &'static str) {
        ("COMMS_ORDER__CHOREOGRAPHED", if matches!(self, Choreographed) { "true" } else { "false" })
    }

    /// The name of the saga, which is the actor of the events of its orders.
    const fn saga(self) -> &'static str {
        if matches!(self, Choreographed) { "order-choreographed" } else { "order" }
    }
}

#[tokio::test]
async fn an_order_ends_as_its_saga_decides_orchestrated_embedded() {
    journey(Deployment::Embedded, Orchestrated).await;
}

#[tokio::test]
async fn an_order_ends_as_its_saga_decides_choreographed_embedded() {
    journey(Deployment::Embedded, Choreographed).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_order_ends_as_its_saga_decides_orchestrated_full_by_role() {
    journey(Deployment::FullByRole, Orchestrated).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_order_ends_as_its_saga_decides_choreographed_full_by_role() {
    journey(Deployment::FullByRole, Choreographed).await;
}

async fn journey(deployment: Deployment, variant: Variant) {
    // The demonstration ads have ids that are known before the start. The courier refuses one of them.
    let refused = ("COMMS_ORDER__SHIPPING__REFUSE_ADS", r#"["lamp-7"]"#);
    let more = [variant.setting(), ("COMMS_AD__DEMO", "true"), refused];
    let marketplace = Marketplace::start_with(deployment, &more).await;
    let journey = Journey { ann: marketplace.buyer("ann"), marketplace, variant };
    journey.is_delivered().await;
    journey.is_declined().await;
    journey.is_cancelled().await;
    journey.shipment_is_refused().await;
    journey.last_pieces_are_sold_once().await;
    assert_eq!(journey.marketplace.databases.counts().await.unwrap().parked, 0, "no message was refused");
}

struct Journey {
    marketplace: Marketplace,
    ann: Buyer,
    variant: Variant,
}

impl Journey {
    async fn is_delivered(&self) {
        let mut socket = self.ann.socket().await;
        let ad = self.ann.create_ad("plenty", PRICE, 10).await;
        let placed = self.ann.place_order("delivered", &order_of(&ad, 3, PRICE)).await;
        let pushed = socket.until(&placed.order_id, "DELIVERED").await;
        let statuses: Vec<_> = pushed.iter().map(|push| push["data"]["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["CREATED", "PAID", "SHIPPED", "DELIVERED"]);
        let history = history(&self.ann, &placed.order_id).await;
        assert_eq!(types(&history), DELIVERED);
        assert_eq!(history[0]["actor"]["id"], "ann");
        for event in &history[1..] {
            assert_eq!(event["actor"], json!({"type": "system", "id": self.variant.saga()}), "{event}");
        }
        self.has_available(&ad, 7).await;
        self.leaves(&placed.order_id, [1, 0, 1, 0]).await;
    }

    async fn is_declined(&self) {
        let price = 100_000_001;
        let ad = self.ann.create_ad("dear", price, 5).await;
        let placed = self.ann.place_order("declined", &order_of(&ad, 1, price)).await;
        let types = ends(&self.ann, &placed.order_id).await;
        assert_eq!(types, ["placed", "payment.started", "payment.failed"]);
        self.shows(&placed.order_id, "PAYMENT_FAILED", "limit_exceeded").await;
        self.leaves(&placed.order_id, [0, 0, 0, 0]).await;
        self.has_available(&ad, 5).await;
    }

    /// ad-service refuses a paid order: each buyer gets the money back, and no ad loses stock.
    async fn is_cancelled(&self) {
        let one = self.ann.create_ad("one", PRICE, 1).await;
        let refusals = [
            ("out_of_stock", order_of(&one, 2, PRICE)),
            ("price_changed", order_of(&one, 1, PRICE - 1)),
            ("unknown_ad", order_of("nothing", 1, PRICE)),
        ];
        for (reason, order) in &refusals {
            let placed = self.ann.place_order(reason, order).await;
            assert_eq!(ends(&self.ann, &placed.order_id).await, REFUNDED, "{reason}");
            self.shows(&placed.order_id, "CANCELLED", reason).await;
            self.leaves(&placed.order_id, [1, 1, 0, 1]).await;
        }
        self.has_available(&one, 1).await;
    }

    /// The courier refuses an order whose stock is reserved.
    async fn shipment_is_refused(&self) {
        let before = self.available("lamp-7").await;
        let placed = self.ann.place_order("refused", &order_of("lamp-7", 2, 4_990)).await;
        let expected = ["placed", "payment.started", "paid", "reserved", "cancelled", "refunded"];
        assert_eq!(ends(&self.ann, &placed.order_id).await, expected);
        self.shows(&placed.order_id, "CANCELLED", "no_courier").await;
        self.has_available("lamp-7", before).await;
        self.leaves(&placed.order_id, [1, 1, 0, 1]).await;
    }

    /// Twenty buyers order one of five pieces at the same time.
    async fn last_pieces_are_sold_once(&self) {
        let ad = self.ann.create_ad("scarce", PRICE, 5).await;
        let order = order_of(&ad, 1, PRICE);
        let buyers: Vec<Buyer> = (0..20).map(|n| self.marketplace.buyer(&format!("buyer-{n}"))).collect();
        let placed = buyers.iter().map(|buyer| buyer.place_order("scarce", &order));
        let placed = futures::future::join_all(placed).await;
        let (mut delivered, mut refunded) = (0, 0);
        for (buyer, placed) in buyers.iter().zip(&placed) {
            let types = ends(buyer, &placed.order_id).await;
            if types == DELIVERED {
                delivered += 1;
                self.leaves(&placed.order_id, [1, 0, 1, 0]).await;
            } else {
                refunded += 1;
                assert_eq!(types, REFUNDED);
                self.leaves(&placed.order_id, [1, 1, 0, 1]).await;
            }
        }
        assert_eq!((delivered, refunded), (5, 15));
        self.has_available(&ad, 0).await;
    }

    async fn shows(&self, order_id: &str, status: &str, reason: &str) {
        let order = self.ann.get(&format!("/v1/orders/{order_id}")).await.unwrap();
        let order: Value = order.json().await.unwrap();
        assert_eq!((&order["status"], &order["reason"]), (&json!(status), &json!(reason)), "{order}");
    }

    async fn available(&self, ad: &str) -> u64 {
        let ad: Value = self.ann.get(&format!("/v1/ads/{ad}")).await.unwrap().json().await.unwrap();
        ad["available"].as_u64().unwrap()
    }

    async fn has_available(&self, ad: &str, pieces: u64) {
        eventually(&format!("{pieces} pieces of {ad} are available"), LIMIT, async || {
            (self.available(ad).await == pieces).then_some(())
        })
        .await;
    }

    /// Waits until the order leaves this behind in payment-service and ad-service: the numbers of its charges, of its
    /// refunds, and of its confirmed and its other reservations.
    async fn leaves(&self, order_id: &str, expected: [usize; 4]) {
        let of = format!("WHERE order_id = '{order_id}'");
        let rows = [
            ("payment_service", format!("charges {of}")),
            ("payment_service", format!("refunds {of}")),
            ("ad_service", format!("reservations {of} AND status = 'CONFIRMED'")),
            ("ad_service", format!("reservations {of} AND status <> 'CONFIRMED'")),
        ];
        eventually(&format!("{order_id} leaves {expected:?}"), LIMIT, async || {
            let mut left = Vec::new();
            for (service, rows) in &rows {
                let count = format!("SELECT COUNT(*) FROM {{s}}.{rows}");
                left.push(self.marketplace.databases.number(service, &count).await.ok()?);
            }
            (left == expected).then_some(())
        })
        .await;
    }
}

fn order_of(ad: &str, quantity: u32, minor: i64) -> Value {
    json!({"ad_id": ad, "quantity": quantity, "price": {"minor": minor, "currency": "RUB"}})
}

/// Waits for the last event of an order, and returns the types of all.
async fn ends(buyer: &Buyer, order_id: &str) -> Vec<String> {
    eventually(&format!("{order_id} ends"), LIMIT, async || {
        let types = types(&history(buyer, order_id).await);
        matches!(&**types.last()?, "delivered" | "payment.failed" | "refunded").then_some(types)
    })
    .await
}

async fn history(buyer: &Buyer, order_id: &str) -> Vec<Value> {
    let history = buyer.get(&format!("/v1/orders/{order_id}/history")).await.unwrap();
    let history: Value = history.json().await.unwrap();
    history["events"].as_array().unwrap().clone()
}

/// Returns the types of the events, without their common parts.
fn types(history: &[Value]) -> Vec<String> {
    let types = history.iter().map(|event| event["type"].as_str().unwrap());
    types.map(|name| name.trim_start_matches("order.").trim_end_matches(".v1").to_owned()).collect()
}

/// The variant of the configuration is that of new orders. The process is killed while orders of the other variant run.
#[tokio::test]
async fn an_order_keeps_its_variant_over_a_restart_with_the_other_one_embedded() {
    let late = ("COMMS_ORDER__SHIPPING__DELIVERED_AFTER", "3s");
    let mut marketplace =
        Marketplace::start_with(Deployment::Embedded, &[Orchestrated.setting(), late]).await;
    let ann = marketplace.buyer("ann");
    let mut placed = Vec::new();
    for (round, variant) in [Orchestrated, Choreographed, Orchestrated].into_iter().enumerate() {
        if round > 0 {
            let (name, value) = variant.setting();
            marketplace.processes[0].kill();
            marketplace.processes[0].set(name, value);
            marketplace.processes[0].spawn();
            marketplace.ready().await;
        }
        for n in 0..5 {
            placed.push((variant, ann.place_with_retries(&format!("{round}-{n}"), PRICE).await));
        }
    }
    marketplace.settled(placed.len(), LIMIT).await;
    for (variant, placed) in placed {
        let history = history(&ann, &placed.order_id).await;
        assert_eq!(types(&history), DELIVERED);
        let actors: Vec<_> =
            history[1..].iter().map(|event| event["actor"]["id"].as_str().unwrap()).collect();
        assert_eq!(actors, [variant.saga(); 5], "{}", placed.order_id);
    }
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!((counts.payments, counts.charges, counts.parked), (15, 15, 0));
}
