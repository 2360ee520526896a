//! The stand-in on both databases.

use std::{collections::HashSet, time::Duration};

use comms_core::{ErrorKind, UnitOfWork as _, clock::Clock, event::EventSource, health::Health};

use super::*;
use crate::{
    platform::{db::testing::TestDb, service::Sweep as _},
    services::order::{MIGRATIONS, SERVICE},
};

const SCHEMA: &str = "order_service";
const WAIT: Duration = Duration::from_secs(2);

struct Bench {
    db: TestDb,
    clock: Clock,
    stand_in: LocalStandIn,
}

async fn sqlite() -> Bench {
    Bench::new(TestDb::sqlite(SCHEMA, &MIGRATIONS).await)
}

async fn postgres() -> Bench {
    Bench::new(TestDb::postgres(SCHEMA, &MIGRATIONS).await)
}

impl Bench {
    fn new(db: TestDb) -> Self {
        let clock = Clock::manual(Duration::from_secs(1_800_000_000));
        let settings = "mode = 'stand-in'\ndelivered_after = '2s'\nrefuse_ads = ['fragile']";
        let settings = toml::from_str(settings).unwrap();
        let events = EventSource::new(SERVICE.source, clock.clone());
        Self { stand_in: LocalStandIn::new(db.db.clone(), events, settings), clock, db }
    }

    async fn create(&self, order: &str, ad: &str) {
        let (order_id, buyer_id, ad_id) = (order.to_owned(), "ann".to_owned(), ad.to_owned());
        let order = ShipOrder { order_id, buyer_id, ad_id, quantity: 1 };
        self.stand_in.create("key", &order).await.unwrap();
    }

    async fn deliver_due(&self) -> Result<(), Error> {
        self.stand_in.sweep(&Health::new().heartbeat("shipments", WAIT)).await
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
}

async fn answers(bench: Bench) {
    bench.create("o", "bike").await;
    bench.create("o", "bike").await;
    assert_eq!(bench.published("o").await, ["ACCEPTED 1", "ACCEPTED 1"]);
    bench.deliver_due().await.unwrap();
    assert_eq!(bench.published("o").await.len(), 2, "not due");
    bench.clock.advance(WAIT);
    bench.deliver_due().await.unwrap();
    bench.deliver_due().await.unwrap();
    assert_eq!(bench.published("o").await[2..], ["DELIVERED 2"]);
    bench.create("o", "bike").await;
    assert_eq!(bench.published("o").await[3..], ["ACCEPTED 1", "DELIVERED 2"], "both answers are repeated");
    let error = bench.stand_in.cancel("key", "o").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{}", error.chain());

    bench.create("refused", "fragile").await;
    bench.create("refused", "fragile").await;
    assert_eq!(bench.published("refused").await, ["REFUSED 1", "REFUSED 1"]);
}

/// The cancellation may overtake the request.
async fn cancellations(bench: Bench) {
    bench.stand_in.cancel("key", "early").await.unwrap();
    bench.create("early", "bike").await;
    assert_eq!(bench.published("early").await, ["REFUSED 1", "REFUSED 1"]);

    bench.create("late", "bike").await;
    bench.stand_in.cancel("key", "late").await.unwrap();
    bench.stand_in.cancel("key", "late").await.unwrap();
    bench.clock.advance(WAIT);
    bench.deliver_due().await.unwrap();
    assert_eq!(bench.published("late").await, ["ACCEPTED 1", "REFUSED 2", "REFUSED 2"]);
}

/// Two processes deliver more than one page. A corrupt shipment stops neither.
async fn two_processes(bench: Bench) {
    for number in 0..120 {
        bench.create(&format!("o-{number}"), "bike").await;
    }
    let mut tx = bench.db.db.begin().await.unwrap();
    let corrupt = "UPDATE {s}.shipments SET sequence = -1 WHERE order_id = 'o-7'";
    tx.execute(corrupt, &[]).await.unwrap();
    bench.db.db.commit(tx).await.unwrap();
    bench.clock.advance(WAIT);
    let (first, second) = tokio::join!(bench.deliver_due(), bench.deliver_due());
    first.unwrap();
    second.unwrap();
    for number in (0..120).filter(|number| *number != 7) {
        assert_eq!(bench.published(&format!("o-{number}")).await, ["ACCEPTED 1", "DELIVERED 2"]);
    }
}

#[tokio::test]
async fn a_repeated_shipment_is_answered_again_and_delivered_once_sqlite() {
    answers(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_repeated_shipment_is_answered_again_and_delivered_once_postgres() {
    answers(postgres().await).await;
}

#[tokio::test]
async fn a_withdrawn_shipment_is_not_delivered_whatever_comes_first_sqlite() {
    cancellations(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_withdrawn_shipment_is_not_delivered_whatever_comes_first_postgres() {
    cancellations(postgres().await).await;
}

#[tokio::test]
async fn two_processes_deliver_each_due_shipment_once_sqlite() {
    two_processes(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn two_processes_deliver_each_due_shipment_once_postgres() {
    two_processes(postgres().await).await;
}
