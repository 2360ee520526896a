//! The calls on both databases: what they store, what they publish, and what happens if they overtake each other.

use std::collections::HashSet;

use comms_core::{
    Delivery, Outcome,
    clock::Clock,
    event::{Event, EventSource},
    shutdown::{Shutdown, ShutdownSignal},
};
use comms_grpc::keyed;
use serde::{Serialize, de::DeserializeOwned};
use tonic::Code;

use super::*;
use crate::{
    contracts::{OrderStatus, OrderStatusChanged, PaymentStatus, PaymentStatusChanged},
    platform::db::testing::TestDb,
    services::payment::{MIGRATIONS, SERVICE, handlers},
};

mod watch;

const SCHEMA: &str = "payment_service";
const LIMIT: i64 = 1_000;

struct Bench {
    db: TestDb,
    api: Api,
}

async fn sqlite() -> Bench {
    Bench::new(TestDb::sqlite(SCHEMA, &MIGRATIONS).await)
}

async fn postgres() -> Bench {
    Bench::new(TestDb::postgres(SCHEMA, &MIGRATIONS).await)
}

impl Bench {
    fn new(db: TestDb) -> Self {
        Self::with(db, Clock::system(), Shutdown::new(Clock::system()).stage("calls").signal())
    }

    /// Returns a bench whose watches end when `drain` fires.
    fn with(db: TestDb, clock: Clock, drain: ShutdownSignal) -> Self {
        let store = Store::new(db.db.clone(), EventSource::new(SERVICE.source, clock.clone()));
        let watches = Watches::new(store.clone(), clock, drain);
        Self { api: Api { db: db.db.clone(), store, watches }, db }
    }

    async fn request(&self, order: &str, key: &str) -> Result<String, Code> {
        let (order_id, buyer_id) = (order.to_owned(), "ann".to_owned());
        let amount = Some(Amount { minor: 100, currency: "RUB".into() });
        let request = Request::new(RequestPaymentRequest { order_id, buyer_id, amount });
        let reply = self.api.request_payment(keyed(request, key).unwrap()).await;
        reply.map(|reply| reply.into_inner().status).map_err(|status| status.code())
    }

    async fn cancel(&self, order: &str, key: &str) -> Result<String, Code> {
        let (order_id, buyer_id) = (order.to_owned(), "ann".to_owned());
        let amount = Some(Amount { minor: 100, currency: "RUB".into() });
        let request = Request::new(CancelPaymentRequest { order_id, buyer_id, amount });
        let reply = self.api.cancel_payment(keyed(request, key).unwrap()).await;
        reply.map(|reply| reply.into_inner().status).map_err(|status| status.code())
    }

    /// Delivers every event that was published to the handler of the settlement.
    async fn settle(&self, limit: i64) {
        for (_, payload) in self.db.published().await {
            let event: PaymentStatusChanged = serde_json::from_value(payload).unwrap();
            self.settle_event(&event, limit).await;
        }
    }

    async fn settle_event(&self, event: &PaymentStatusChanged, limit: i64) {
        let clock = Clock::system();
        let settle = handlers::settle(self.db.db.clone(), self.api.store.clone(), limit, clock);
        settle.handle(delivery(event)).await.unwrap();
    }

    /// The statuses and sequences that were published for an order. Each message has an id of its own.
    async fn published(&self, order: &str) -> Vec<String> {
        let messages = self.db.published().await;
        let ids: HashSet<_> = messages.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), messages.len());
        let of_order = messages.iter().filter(|(_, payload)| payload["order_id"] == order);
        of_order
            .map(|(_, payload)| format!("{} {}", payload["status"].as_str().unwrap(), payload["sequence"]))
            .collect()
    }

    /// The numbers of payments, charges and refunds.
    async fn money(&self) -> [i64; 3] {
        [
            self.db.number("SELECT COUNT(*) AS n FROM {s}.payments").await,
            self.db.number("SELECT COUNT(*) AS n FROM {s}.charges").await,
            self.db.number("SELECT COUNT(*) AS n FROM {s}.refunds").await,
        ]
    }
}

fn delivery<E: Event + Serialize + DeserializeOwned>(event: &E) -> Delivery {
    let message = EventSource::new("peers", Clock::system()).message(event).unwrap();
    Delivery::new(message, "group")
}

#[tokio::test]
async fn a_payment_in_an_unknown_currency_is_refused() {
    let bench = sqlite().await;
    for (currency, code) in [("AAA", Code::InvalidArgument), ("RUB", Code::Ok)] {
        let amount = Some(Amount { minor: 100, currency: currency.into() });
        let (order_id, buyer_id) = (format!("order-{currency}"), "ann".to_owned());
        let request = RequestPaymentRequest { order_id, buyer_id, amount };
        let reply = bench.api.request_payment(keyed(Request::new(request), currency).unwrap()).await;
        assert_eq!(reply.map_or_else(|status| status.code(), |_| Code::Ok), code, "{currency}");
    }
    assert_eq!(bench.money().await, [1, 0, 0], "a refused payment is not stored");
}

/// The standard withdraws a code while a buyer is charged in it.
#[tokio::test]
async fn a_payment_in_a_currency_that_was_withdrawn_is_refunded() {
    let bench = sqlite().await;
    let amount = Money { minor: 100, currency: "BGN".into() };
    for order in ["o-1", "o-2"] {
        assert_eq!(bench.request(order, order).await, Ok("PENDING".into()));
    }
    bench.settle(LIMIT).await;
    let withdrawn = "UPDATE {s}.payments SET currency = 'BGN'";
    in_transaction(&bench.db.db, async |mut tx| tx.execute(withdrawn, &[]).await).await.unwrap();

    let (order_id, buyer_id) = ("o-1".to_owned(), "ann".to_owned());
    let wanted = Some(Amount { minor: amount.minor, currency: amount.currency.clone() });
    let request = RequestPaymentRequest { order_id, buyer_id, amount: wanted.clone() };
    let reply = bench.api.request_payment(keyed(Request::new(request.clone()), "again").unwrap()).await;
    assert_eq!(reply.unwrap().into_inner().status, "SUCCEEDED", "the order has this payment");
    let RequestPaymentRequest { order_id, buyer_id, .. } = request;
    let request = CancelPaymentRequest { order_id, buyer_id, amount: wanted };
    let reply = bench.api.cancel_payment(keyed(Request::new(request), "undo").unwrap()).await;
    assert_eq!(reply.unwrap().into_inner().status, "REFUNDED");

    let cancelled = OrderStatusChanged {
        order_id: "o-2".into(),
        buyer_id: "ann".into(),
        status: OrderStatus::Cancelled,
        sequence: 3,
        total: amount,
        reason: None,
        changed_at: String::new(),
        item: None,
        choreographed: true,
    };
    let follow = handlers::follow_order(bench.db.db.clone(), bench.api.store.clone());
    assert!(matches!(follow.handle(delivery(&cancelled)).await, Ok(Outcome::Done)));
    assert_eq!(bench.published("o-2").await.last().unwrap(), "REFUNDED 3");
    assert_eq!(bench.money().await, [2, 2, 2]);
}

/// A saga that got no event repeats its command. It must get an event for the repetition, or it would give up.
async fn repeated_calls(bench: Bench) {
    for _ in 0..2 {
        assert_eq!(bench.request("o", "pay").await, Ok("PENDING".into()));
    }
    assert_eq!(bench.published("o").await, ["PENDING 1", "PENDING 1"]);
    bench.settle(LIMIT).await;
    assert_eq!(bench.request("o", "pay").await, Ok("PENDING".into()), "the stored reply");
    assert_eq!(bench.request("o", "another key").await, Ok("SUCCEEDED".into()));
    assert_eq!(bench.published("o").await[2..], ["SUCCEEDED 2", "SUCCEEDED 2", "SUCCEEDED 2"]);
    for _ in 0..2 {
        assert_eq!(bench.cancel("o", "undo").await, Ok("REFUNDED".into()));
    }
    assert_eq!(bench.cancel("o", "another key").await, Ok("REFUNDED".into()));
    assert_eq!(bench.published("o").await[5..], ["REFUNDED 3", "REFUNDED 3", "REFUNDED 3"]);
    assert_eq!(bench.money().await, [1, 1, 1]);
}

/// The request of a payment may arrive after its cancellation.
async fn overtaken_requests(bench: Bench) {
    assert_eq!(bench.cancel("o", "undo").await, Ok("CANCELLED".into()));
    assert_eq!(bench.request("o", "pay").await, Ok("CANCELLED".into()));
    bench.settle(LIMIT).await;
    assert_eq!(bench.published("o").await, ["CANCELLED 1", "CANCELLED 1"]);

    assert_eq!(bench.request("declined", "pay declined").await, Ok("PENDING".into()));
    bench.settle(0).await;
    assert_eq!(bench.cancel("declined", "undo declined").await, Ok("DECLINED".into()));
    assert_eq!(bench.published("declined").await, ["PENDING 1", "DECLINED 2", "DECLINED 2"]);

    assert_eq!(bench.request("pending", "pay pending").await, Ok("PENDING".into()));
    assert_eq!(bench.cancel("pending", "undo pending").await, Ok("CANCELLED".into()));
    bench.settle(LIMIT).await;
    assert_eq!(bench.published("pending").await, ["PENDING 1", "CANCELLED 2"]);
    assert_eq!(bench.money().await, [3, 0, 0]);
}

/// A cancellation races with the settlement of the payment, and with its request.
async fn races(bench: Bench) {
    let orders: Vec<String> = (0..20).map(|n| format!("o-{n}")).collect();
    for (n, order) in orders.iter().enumerate() {
        let (pay, undo) = (format!("pay {order}"), format!("undo {order}"));
        if n % 2 == 0 {
            let (requested, cancelled) = tokio::join!(bench.request(order, &pay), bench.cancel(order, &undo));
            assert!(requested.is_ok() && cancelled == Ok("CANCELLED".into()), "{requested:?} {cancelled:?}");
            continue;
        }
        assert_eq!(bench.request(order, &pay).await, Ok("PENDING".into()));
        let (_, event) = bench.db.published().await.pop().unwrap();
        let event: PaymentStatusChanged = serde_json::from_value(event).unwrap();
        let (cancelled, ()) = tokio::join!(bench.cancel(order, &undo), bench.settle_event(&event, LIMIT));
        assert!(matches!(cancelled.as_deref(), Ok("CANCELLED" | "REFUNDED")), "{cancelled:?}");
    }
    bench.settle(LIMIT).await;
    let [payments, charges, refunds] = bench.money().await;
    assert_eq!((payments, charges), (20, refunds), "every charge of a cancelled order is refunded");
    let charged = "SELECT COUNT(*) AS n FROM {s}.payments p WHERE NOT (
        p.status = 'CANCELLED' AND NOT EXISTS (SELECT 1 FROM {s}.charges c WHERE c.order_id = p.order_id)
        OR p.status = 'REFUNDED' AND EXISTS (SELECT 1 FROM {s}.refunds r WHERE r.order_id = p.order_id))";
    assert_eq!(bench.db.number(charged).await, 0);
}

/// Without a saga that sends commands, the events of the order take and cancel the payment.
async fn choreographed_orders(bench: Bench) {
    let follow = handlers::follow_order(bench.db.db.clone(), bench.api.store.clone());
    let changed = |status, choreographed| OrderStatusChanged {
        order_id: "o".into(),
        buyer_id: "ann".into(),
        status,
        sequence: 1,
        total: Money { minor: 100, currency: "RUB".into() },
        reason: None,
        changed_at: "2026-11-26T00:00:00.000Z".into(),
        item: None,
        choreographed,
    };
    for skipped in [changed(OrderStatus::Created, false), changed(OrderStatus::Paid, true)] {
        assert_eq!(follow.handle(delivery(&skipped)).await.unwrap(), Outcome::Skipped);
    }
    let created = delivery(&changed(OrderStatus::Created, true));
    assert_eq!(follow.handle(created.clone()).await.unwrap(), Outcome::Done);
    assert_eq!(follow.handle(created).await.unwrap(), Outcome::Duplicate);
    bench.settle(LIMIT).await;
    for _ in 0..2 {
        let cancelled = delivery(&changed(OrderStatus::Cancelled, true));
        assert_eq!(follow.handle(cancelled).await.unwrap(), Outcome::Done);
    }
    assert_eq!(bench.published("o").await, ["PENDING 1", "SUCCEEDED 2", "REFUNDED 3", "REFUNDED 3"]);
    assert_eq!(bench.money().await, [1, 1, 1]);
    assert_eq!(bench.request("o", "pay").await, Ok("REFUNDED".into()));
    assert_eq!(<&str>::from(PaymentStatus::Refunded), "REFUNDED");
}

#[tokio::test]
async fn a_repeated_call_publishes_the_status_again_sqlite() {
    repeated_calls(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_repeated_call_publishes_the_status_again_postgres() {
    repeated_calls(postgres().await).await;
}

#[tokio::test]
async fn a_payment_that_is_requested_after_its_cancellation_is_never_charged_sqlite() {
    overtaken_requests(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_payment_that_is_requested_after_its_cancellation_is_never_charged_postgres() {
    overtaken_requests(postgres().await).await;
}

#[tokio::test]
async fn a_cancelled_payment_is_not_charged_or_is_refunded_whatever_comes_first_sqlite() {
    races(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_cancelled_payment_is_not_charged_or_is_refunded_whatever_comes_first_postgres() {
    races(postgres().await).await;
}

#[tokio::test]
async fn events_of_choreographed_orders_take_and_cancel_payments_sqlite() {
    choreographed_orders(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn events_of_choreographed_orders_take_and_cancel_payments_postgres() {
    choreographed_orders(postgres().await).await;
}
