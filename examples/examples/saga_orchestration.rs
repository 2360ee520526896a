//! Orchestrated saga: a coordinator commands three services, and undoes an order that one of them refuses.
//!
//! The problem: an order takes a payment, reserves stock and books a courier, in three services that each commit alone. A
//! command or an answer may be lost, and a refusal of the last service must undo the work of the others.
//!
//! The solution: a coordinator stores the state of each order. One transaction has the next state, the next command and a
//! timer, so a command without an answer is sent again. Each service answers in the transaction of its own effect.
//!
//! Prints the states of an order of which inventory loses the first command, and of an order that shipping refuses. Then
//! the log of the refused order in JSON, as an operator's page gets it.
//!
//! Run: `cargo run -p examples --example saga_orchestration`. Nothing else is needed: the database is a temporary file.

use std::time::Duration;

use comms_core::{
    Delivery, Error, Outbox, Outcome,
    clock::Clock,
    event::{self, Event, EventSource},
    handler_fn, in_transaction, once,
    resilience::Backoff,
    saga::{Definition, Definitions, Reply, Step},
    transport::BoxHandler,
};
use comms_outbox::{
    saga::{Coordinator, RunChange, RunId},
    sql_error,
    sqlite::{SqliteTx, SqliteUnit},
};
use examples::{
    shop::{Answer, Command, Shop, Tx, print_change, store_part},
    until,
};
use futures::FutureExt as _;

/// The message that inventory loses: the command of the first attempt.
const LOST: &str = "order/order-1/inventory/execute/1";

/// Returns a step of the saga: the command and its answer, the compensation and its answer.
fn step(service: &'static str) -> Result<Step<()>, Error> {
    let reply = move |answer: &Answer, wanted: bool| match answer {
        answer if answer.service != service => Reply::Ignored,
        answer if answer.done == wanted => Reply::Done,
        _ => Reply::Failed(format!("{service} refused")),
    };
    Ok(Step::command(service, |saga| Command { order: saga.id.clone(), undo: false })
        .reply::<Answer>(move |_, answer| reply(answer, true))
        .compensate(|saga| Command { order: saga.id.clone(), undo: true })
        .compensated_by::<Answer>(move |_, answer| reply(answer, false))
        .topic(service)
        .time_limit(Duration::from_millis(500))
        .attempts(5, Backoff::new(Duration::from_millis(50), Duration::from_secs(1))?))
}

/// Returns the handler of a service: it executes or undoes its part of an order, and answers.
fn service(unit: &SqliteUnit, name: &'static str) -> BoxHandler {
    let (unit, events) = (unit.clone(), EventSource::new(name, Clock::system()));
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (unit, events) = (unit.clone(), events.clone());
        async move {
            let command = event::read(&delivery.message)?.filter(|_| delivery.message.id() != LOST);
            let Some(Command { order, undo }) = command else { return Ok(Outcome::Skipped) };
            let accepts = !undo && (name, order.as_str()) != ("shipping", "order-2");
            let part = async |mut tx: Tx| {
                let done = store_part(&mut tx, name, &order, accepts).await?;
                let answer = Answer { order: order.clone(), service: name.to_owned(), done };
                unit.enqueue(&mut tx, &[events.message(&answer)?]).await
            };
            once(&unit, &delivery, part).await
        }
    }))
}

/// Writes the state of each run to the row of its order, in the transaction of the change.
async fn update_orders(changes: &[RunChange], tx: &mut SqliteTx) -> Result<(), Error> {
    for change in changes {
        print_change(change);
        let update = sqlx::query("UPDATE orders SET status = $1 WHERE id = $2");
        let update = update.bind(&change.instance.state).bind(&change.instance.id);
        update.execute(&mut **tx).await.map_err(sql_error)?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let steps = Definition::builder("order", 1).step(step("payment")?).step(step("inventory")?);
    let saga = steps.step(step("shipping")?.pivot()).build()?;
    let (events, sagas) = (EventSource::new("orders", Clock::system()), Definitions::new());
    let coordinator = Coordinator::builder(shop.unit.clone(), events, sagas.register(saga.clone())?)
        .on_transition(|changes, tx| update_orders(changes, tx).boxed())
        .build()?;
    for id in ["order-1", "order-2"] {
        // The order and its run are committed together.
        let place = async |mut tx: Tx| {
            let insert = sqlx::query("INSERT INTO orders (id) VALUES ($1)").bind(id);
            insert.execute(&mut **tx).await.map_err(sql_error)?;
            coordinator.start(&mut tx, &saga, id, ()).await
        };
        in_transaction(&shop.unit, place).await?;
    }

    let ended = until(shop.runs_ended()).shared();
    let participant = |name| shop.consumer(name).on(name, service(&shop.unit, name)).build();
    tokio::try_join!(
        coordinator.run(ended.clone()),
        shop.consumer("orders").on(Answer::TYPE, coordinator.handler()).build()?.run(ended.clone()),
        participant("payment")?.run(ended.clone()),
        participant("inventory")?.run(ended.clone()),
        participant("shipping")?.run(ended),
    )?;
    let run = RunId::new("order", "order-2");
    let timeline = shop.tables.saga_timeline(&mut *shop.pool.acquire().await?, &run).await?;
    for line in timeline.iter().flat_map(|timeline| &timeline.log) {
        println!("{}", serde_json::to_string(line)?);
    }
    Ok(())
}
