//! Choreographed saga: three services react to each other's events, and a saga follows them.
//!
//! The problem: without an orchestrator no service has the state of an order. If an event does not come, the order stops
//! between two services, and nothing reports it.
//!
//! The solution: a saga of observed steps follows the events. It stores the state of each order, and has a time limit for
//! each event. After a refusal or a missing event it announces that the order is cancelled, to which the services react. It
//! waits until each has undone its part, and raises an alarm if one does not.
//!
//! Prints the states of an order that succeeds, of one that shipping refuses, and of one whose events inventory loses. An
//! operator gets the list of held runs and sets the result of the missing step.
//!
//! Run: `cargo run -p examples --example saga_choreography`. Nothing else is needed: the database is a temporary file.

use std::time::Duration;

use comms_core::{
    Error, Message, Outbox,
    clock::Clock,
    event::{Event, EventSource},
    in_transaction,
    resilience::Backoff,
    saga::{Definition, Definitions, ForcedStatus, Operation, Phase, Reply, Step},
    transactional,
    transport::BoxHandler,
};
use comms_outbox::{
    LocalConsumerBuilder,
    saga::{Coordinator, RunFilter},
    sqlite::SqliteUnit,
};
use examples::{
    shop::{self, InventoryChanged, OrderCancelled, OrderPlaced, PaymentChanged, ShippingChanged, Shop, Tx},
    until,
};
use futures::{FutureExt as _, future::try_join_all};
use serde::{Serialize, de::DeserializeOwned};

/// Returns the handler of a service for one event. The service executes its part of the order if `react` returns `true`,
/// undoes it if `false`, and announces the result. `None`: the event does not concern the service.
fn on<E: Event + Serialize + DeserializeOwned>(
    shop: &Shop,
    service: &'static str,
    react: fn(&E) -> Option<bool>,
    announce: fn(&EventSource, String, bool) -> Result<Message, Error>,
) -> BoxHandler {
    let (unit, events) = (shop.unit.clone(), EventSource::new(service, Clock::system()));
    BoxHandler::new(transactional(shop.unit.clone(), move |event: E, mut tx: Tx| {
        let (unit, events) = (unit.clone(), events.clone());
        async move {
            let (order, Some(wanted)) = (event.key(), react(&event)) else { return Ok(()) };
            let done = shop::store_part(&mut tx, service, &order, wanted).await?;
            unit.enqueue(&mut tx, &[announce(&events, order, done)?]).await
        }
    }))
}

/// Returns the saga. Its compensations announce one event, and each step awaits the answer of its own service.
fn order_saga() -> Result<Definition<()>, Error> {
    let result = |done| if done { Reply::Done } else { Reply::Failed("refused".to_owned()) };
    let limited = |step: Step<()>| step.time_limit(Duration::from_secs(2)).attempts(1, Backoff::default());
    let payment = Step::observe("payment")
        .reply::<PaymentChanged>(move |(), event| result(event.done))
        .compensate(|saga| OrderCancelled { order: saga.id.clone() })
        .compensated_by::<PaymentChanged>(move |(), event| result(!event.done));
    let inventory = Step::observe("inventory")
        .reply::<InventoryChanged>(move |(), event| result(event.done))
        .compensate(|saga| OrderCancelled { order: saga.id.clone() })
        .compensated_by::<InventoryChanged>(move |(), event| result(!event.done));
    let shipping = Step::observe("shipping").reply::<ShippingChanged>(move |(), event| result(event.done));
    let saga = Definition::builder("order", 1).start::<OrderPlaced>(|_| ());
    Ok(saga.step(limited(payment)).step(limited(inventory)).step(limited(shipping)).build()?)
}

/// Waits for a held run, prints it, and sets the result that an operator has found out at inventory.
async fn operate(shop: &Shop, coordinator: &Coordinator<SqliteUnit>) -> anyhow::Result<()> {
    let held = shop.find_run(&RunFilter::all().phase(Phase::Held)).await?;
    println!("held: {}, {}", held.run, serde_json::to_string(&held.instance()?.steps)?);
    let force = Operation::Force { step: "inventory".to_owned(), status: ForcedStatus::Compensated };
    coordinator.operate(&held.run, "ops@shop", force).await?;
    shop.runs_ended().await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let (events, saga) = (EventSource::new("orders", Clock::system()), order_saga()?);
    let sagas = Definitions::new().register(saga.clone())?;
    let coordinator = Coordinator::builder(shop.unit.clone(), events.clone(), sagas)
        .on_transition(|changes, _| shop::print_changes(changes).boxed())
        .build()?;
    for order in ["order-1", "order-2", "order-3"] {
        let placed = events.message(&OrderPlaced { order: order.to_owned() })?;
        in_transaction(&shop.unit, async |mut tx: Tx| shop.unit.enqueue(&mut tx, &[placed]).await).await?;
    }
    let handle = |follower: LocalConsumerBuilder, event| follower.on(event, coordinator.handler());
    let follower = saga.events().fold(shop.consumer("orders"), handle).build()?;

    // Payment reacts to orders, inventory to payments, shipping to reservations. Inventory loses the events of order-3.
    let paid = |events: &EventSource, order, done| events.message(&PaymentChanged { order, done });
    let stock = |events: &EventSource, order, done| events.message(&InventoryChanged { order, done });
    let sent = |events: &EventSource, order, done| events.message(&ShippingChanged { order, done });
    let placed = on(&shop, "payment", |_: &OrderPlaced| Some(true), paid);
    let refund = on(&shop, "payment", |_: &OrderCancelled| Some(false), paid);
    let payment = shop.consumer("payment").on(OrderPlaced::TYPE, placed).on(OrderCancelled::TYPE, refund);
    let reserve =
        on(&shop, "inventory", |e: &PaymentChanged| (e.done && e.order != "order-3").then_some(true), stock);
    let release = on(&shop, "inventory", |e: &OrderCancelled| (e.order != "order-3").then_some(false), stock);
    let inventory =
        shop.consumer("inventory").on(PaymentChanged::TYPE, reserve).on(OrderCancelled::TYPE, release);
    let ship = on(&shop, "shipping", |e: &InventoryChanged| e.done.then_some(e.order != "order-2"), sent);
    let shipping = shop.consumer("shipping").on(InventoryChanged::TYPE, ship);

    let ended = until(operate(&shop, &coordinator)).shared();
    let consumers = [follower, payment.build()?, inventory.build()?, shipping.build()?];
    let consumers = try_join_all(consumers.map(|consumer| consumer.run(ended.clone())));
    tokio::try_join!(coordinator.run(ended.clone()), consumers)?;
    Ok(())
}
