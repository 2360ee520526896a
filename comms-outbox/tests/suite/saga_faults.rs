//! Sagas: one bad run, message, timer or sweep stops no other.

use std::time::Duration;

use comms_core::{
    Error, ErrorKind, Outcome, UnitOfWork,
    event::Event,
    saga::{Definition, Phase, Reply},
};
use serde::{Deserialize, Serialize};
use tower_service::Service;

use super::{
    saga::{
        Order, Paid, Pay, Placed, Sagas, Ship, Shipped, Step, Stocked, builder, coordinator, delivery, drive,
        give, handle, order, paid, phase, placed, registered, shipped, slow,
    },
    until,
};

const SHORT: Duration = Duration::from_millis(40);

/// The table that only the sweep reads is away.
pub async fn a_failing_sweep_delays_no_timer<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &order(1, SHORT));
    give(&coordinator, &placed("7")).await;
    backend.sql("ALTER TABLE {s}.comms_saga_early RENAME TO gone").await;
    let running = drive(&coordinator);
    until("the run fails", async || phase(&backend, "7").await == Some(Phase::Failed)).await;
    running.stop().await;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StockedV2 {
    order: String,
}

impl Event for StockedV2 {
    const TYPE: &'static str = "stock.stocked";
    const VERSION: u32 = 2;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn tracker<E: Event + Serialize + for<'de> Deserialize<'de>>() -> Definition<Order> {
    let stock = Step::observe("stock").reply::<E>(|_, _| Reply::Done).time_limit(Duration::from_secs(600));
    Definition::builder("order", 1).start::<Placed>(|_| Order::default()).step(stock).build().unwrap()
}

pub async fn a_start_waits_for_the_reader_of_an_early_event<B: Sagas>() {
    let backend = B::start().await;
    let new = coordinator(&backend, &tracker::<StockedV2>());
    give(&new, &StockedV2 { order: "7".into() }).await;
    let old = coordinator(&backend, &tracker::<Stocked>());
    let start = delivery(&placed("7"));
    let error = handle(&old, &start).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
    assert!(backend.run("7").await.is_none());
    assert_eq!(backend.count("comms_saga_early").await, 1);
    assert_eq!(handle(&new, &start).await.unwrap(), Outcome::Done);
    assert_eq!(phase(&backend, "7").await, Some(Phase::Completed));
}

/// An error of one run that looks like that of a database that is away.
pub async fn a_run_that_is_not_executed_holds_no_other_run_of_its_batch<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = builder(&backend, registered(&slow(1)))
        .on_transition(|changes, _| {
            let is_bad = changes.iter().any(|change| change.instance.id == "a");
            Box::pin(async move { if is_bad { Err(Error::not_executed("a lock of a")) } else { Ok(()) } })
        })
        .build()
        .unwrap();
    let batch = vec![delivery(&placed("a")), delivery(&placed("b")), delivery(&paid("a", true))];
    let results = coordinator.batch_handler().call(batch).await.unwrap();
    let results: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.kind)).collect();
    let refused = Err(ErrorKind::NotExecuted);
    assert_eq!(results, [refused, Ok(Outcome::Done), refused], "the last one is behind the first one");
    assert!(backend.run("a").await.is_none() && backend.run("b").await.is_some());
}

pub async fn an_id_that_makes_no_idempotency_key_is_refused<B: Sagas>() {
    let backend = B::start().await;
    let (definition, unit) = (slow(1), backend.unit());
    let coordinator = coordinator(&backend, &definition);
    for id in ["x".repeat(300), "ü".into()] {
        let mut tx = unit.begin().await.unwrap();
        let error = coordinator.start(&mut tx, &definition, &id, Order::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{}", error.chain());
        drop(tx);
        let error = handle(&coordinator, &delivery(&placed(&id))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{}", error.chain());
    }
    assert_eq!(backend.count("comms_saga").await, 0);
}

pub async fn one_sweep_deletes_all_expired_events<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = builder(&backend, registered(&tracker::<Stocked>()))
        .early_retention(Duration::from_millis(1))
        .sweep_interval(Duration::from_secs(3600))
        .build()
        .unwrap();
    let rows = "INSERT INTO {s}.comms_saga_early (saga, id, source, msg_id, topic, headers)
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500)
        SELECT 'order', 'run-' || n, 'stock', 'message', 'stock.stocked', NO_HEADERS FROM n";
    let empty = if backend.is_postgres() { "''::bytea" } else { "x''" };
    backend.sql(&rows.replace("NO_HEADERS", empty)).await;
    assert_eq!(backend.count("comms_saga_early").await, 2500);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let running = drive(&coordinator);
    until("all are deleted", async || backend.count("comms_saga_early").await == 0).await;
    running.stop().await;
}

/// The time limit of the second step does not fit into the database.
pub async fn the_longest_wait_is_stored<B: Sagas>() {
    let backend = B::start().await;
    let payment = Step::command("payment", |saga| Pay { order: saga.id.clone() })
        .reply::<Paid>(|_, _| Reply::Done)
        .time_limit(Duration::from_secs(600));
    let shipping = Step::command("shipping", |saga| Ship { order: saga.id.clone() })
        .reply::<Shipped>(|_, _| Reply::Done)
        .time_limit(Duration::MAX);
    let definition = Definition::builder("order", 1)
        .start::<Placed>(|_| Order::default())
        .step(payment)
        .step(shipping)
        .build()
        .unwrap();
    let coordinator = coordinator(&backend, &definition);
    give(&coordinator, &placed("7")).await;
    assert_eq!(give(&coordinator, &paid("7", true)).await, Outcome::Done);
    assert_eq!(backend.count("comms_saga_timer").await, 1);
    assert_eq!(give(&coordinator, &shipped("7", true)).await, Outcome::Done);
    assert_eq!(phase(&backend, "7").await, Some(Phase::Completed));
}
