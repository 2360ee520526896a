//! Sagas: the fixture, and runs that follow their messages.

use std::{future::Future, time::Duration};

use comms_core::{
    Delivery, Error, ErrorKind, Outcome, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    resilience::{Backoff, Jitter},
    saga::{Definition, Definitions, Phase, Reply},
};
use comms_outbox::saga::{
    Coordinator, CoordinatorBuilder, LoggedEffect, RunCount, RunFilter, RunId, RunInput, SagaStore,
    StoredRun, Timeline,
};
use serde::{Deserialize, Serialize};
use tower_service::Service;

use super::{Backend, Running, unique};

pub trait Sagas: Backend<Unit: SagaStore> {
    fn run(&self, id: &str) -> impl Future<Output = Option<StoredRun>> + Send;
    fn runs(
        &self,
        filter: RunFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> impl Future<Output = Vec<StoredRun>> + Send;
    fn timeline(&self, id: &str) -> impl Future<Output = Option<Timeline>> + Send;
    fn counts(&self) -> impl Future<Output = Vec<RunCount>> + Send;
    fn delete_ended(&self, older_than: Duration, limit: u32) -> impl Future<Output = u64> + Send;
    /// Returns the ids of the messages in the outbox, in their order.
    fn sent(&self) -> impl Future<Output = Vec<String>> + Send;
    fn is_postgres(&self) -> bool;
    /// Returns the number of rows of a table.
    fn count(&self, table: &str) -> impl Future<Output = i64> + Send;
}

macro_rules! events {
    ($($name:ident { $($field:ident: $type:ty),* } = $wire:literal;)*) => { $(
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct $name { pub order: String, $(pub $field: $type),* }
        impl Event for $name {
            const TYPE: &'static str = $wire;
            const VERSION: u32 = 1;
            fn key(&self) -> String { self.order.clone() }
        }
    )* }
}
events! {
    Placed {} = "order.placed";
    Pay {} = "payment.pay";
    Refund {} = "payment.refund";
    Paid { ok: bool } = "payment.paid";
    Ship {} = "shipping.ship";
    Shipped { ok: bool } = "shipping.shipped";
    Stocked {} = "stock.stocked";
}

/// The data of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub paid: bool,
}

pub type Step = comms_core::saga::Step<Order>;

fn result(ok: bool) -> Reply {
    if ok { Reply::Done } else { Reply::Failed("refused".into()) }
}

pub fn steady() -> Backoff {
    let wait = Duration::from_millis(20);
    Backoff::new(wait, wait).unwrap().with_jitter(Jitter::Ratio(0.0)).unwrap()
}

/// A payment that can be refunded, and then a shipment, the pivot, which is held if no reply comes.
pub fn order(version: u32, limit: Duration) -> Definition<Order> {
    let payment = Step::command("payment", |saga| Pay { order: saga.id.clone() })
        .reply::<Paid>(|order, paid| {
            order.paid = paid.ok;
            result(paid.ok)
        })
        .compensate(|saga| Refund { order: saga.id.clone() })
        .topic("payment.commands");
    let shipping = Step::command("shipping", |saga| Ship { order: saga.id.clone() })
        .reply::<Shipped>(|_, shipped| result(shipped.ok))
        .pivot();
    let steps = [payment.running("Paying"), shipping.running("Shipping")];
    let [payment, shipping] = steps.map(|step| step.time_limit(limit).attempts(2, steady()));
    let builder = Definition::builder("order", version).start::<Placed>(|_| Order::default());
    builder.step(payment).step(shipping).build().unwrap()
}

pub fn slow(version: u32) -> Definition<Order> {
    order(version, Duration::from_secs(600))
}

pub fn registered(definition: &Definition<Order>) -> Definitions {
    Definitions::new().register(definition.clone()).unwrap()
}

pub fn events() -> EventSource {
    EventSource::new("order-service", Clock::system())
}

/// Returns the builder of a coordinator with short intervals, which writes the state of each change as an effect.
pub fn builder<B: Sagas>(backend: &B, definitions: Definitions) -> CoordinatorBuilder<B::Unit> {
    let writer = backend.clone();
    Coordinator::builder(backend.unit(), events(), definitions)
        .poll_interval(Duration::from_millis(20))
        .sweep_interval(Duration::from_millis(50))
        .backoff(steady())
        .on_transition(move |changes, tx| {
            let backend = writer.clone();
            Box::pin(async move {
                for change in changes {
                    backend
                        .add_effect(tx, &format!("{} {}", change.instance.id, change.instance.state))
                        .await;
                }
                Ok(())
            })
        })
}

pub fn coordinator<B: Sagas>(backend: &B, definition: &Definition<Order>) -> Coordinator<B::Unit> {
    builder(backend, registered(definition)).build().unwrap()
}

/// Runs the timers in the background until they are stopped or dropped.
pub fn drive<U: SagaStore>(coordinator: &Coordinator<U>) -> Running {
    let coordinator = coordinator.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = async move {
        let stopped = async {
            let _ = stopped.await;
        };
        coordinator.run(stopped).await
    };
    Running { stop: Some(stop), task: tokio::spawn(run) }
}

pub fn delivery<E: Event + Serialize + for<'de> Deserialize<'de>>(event: &E) -> Delivery {
    let peers = EventSource::new(unique(), Clock::system());
    Delivery::new(peers.message(event).unwrap(), "orders")
}

pub async fn handle<U: SagaStore>(
    coordinator: &Coordinator<U>,
    delivery: &Delivery,
) -> Result<Outcome, Error> {
    coordinator.handler().call(delivery.clone()).await
}

pub async fn give<U: SagaStore, E: Event + Serialize + for<'de> Deserialize<'de>>(
    coordinator: &Coordinator<U>,
    event: &E,
) -> Outcome {
    handle(coordinator, &delivery(event)).await.unwrap()
}

pub async fn start<U: SagaStore>(
    unit: &U,
    coordinator: &Coordinator<U>,
    definition: &Definition<Order>,
    id: &str,
) -> bool {
    let mut tx = unit.begin().await.unwrap();
    let is_new = coordinator.start(&mut tx, definition, id, Order::default()).await.unwrap();
    unit.commit(tx).await.unwrap();
    is_new
}

pub fn placed(id: &str) -> Placed {
    Placed { order: id.into() }
}

pub fn paid(id: &str, ok: bool) -> Paid {
    Paid { order: id.into(), ok }
}

pub fn shipped(id: &str, ok: bool) -> Shipped {
    Shipped { order: id.into(), ok }
}

pub async fn phase<B: Sagas>(backend: &B, id: &str) -> Option<Phase> {
    backend.run(id).await.map(|run| run.phase)
}

pub async fn a_run_starts_in_the_callers_transaction<B: Sagas>() {
    let backend = B::start().await;
    let (definition, unit) = (slow(1), backend.unit());
    let coordinator = coordinator(&backend, &definition);
    let mut tx = unit.begin().await.unwrap();
    assert!(coordinator.start(&mut tx, &definition, "7", Order::default()).await.unwrap());
    drop(tx);
    assert!(backend.run("7").await.is_none() && backend.sent().await.is_empty(), "rolled back");
    assert!(start(&unit, &coordinator, &definition, "7").await);
    assert!(!start(&unit, &coordinator, &definition, "7").await, "a run with this id exists");
    assert_eq!(backend.sent().await, ["order/7/payment/execute/1"]);
    assert_eq!(backend.effects().await, ["7 Paying"]);
    let mut tx = unit.begin().await.unwrap();
    let refused = [
        coordinator.start(&mut tx, &slow(2), "8", Order::default()).await.unwrap_err(),
        coordinator.start(&mut tx, &definition, "", Order::default()).await.unwrap_err(),
    ];
    assert_eq!(refused.map(|error| error.kind), [ErrorKind::Misconfigured, ErrorKind::Invalid]);
}

pub async fn a_run_follows_its_messages<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    assert_eq!(give(&coordinator, &placed("7")).await, Outcome::Done);
    let trace = backend.timeline("7").await.unwrap().trace_id.unwrap();
    give(&coordinator, &paid("7", true)).await;
    give(&coordinator, &shipped("7", true)).await;
    let run = backend.run("7").await.unwrap();
    assert_eq!((run.phase, run.revision, run.state.as_str()), (Phase::Completed, 3, "Completed"));
    assert_eq!(run.instance().unwrap().data["paid"], true);
    assert_eq!(backend.sent().await, ["order/7/payment/execute/1", "order/7/shipping/execute/1"]);
    assert_eq!(backend.effects().await, ["7 Paying", "7 Shipping", "7 Completed"]);
    assert_eq!(backend.count("comms_saga_timer").await, 0, "an ended run has no timer");

    let timeline = backend.timeline("7").await.unwrap();
    let states: Vec<_> = timeline.log.iter().map(|line| (line.sequence, line.state.as_str())).collect();
    assert_eq!(states, [(1, "Paying"), (2, "Shipping"), (3, "Completed")]);
    assert!(
        matches!(&timeline.log[1].input, RunInput::Message { event_type: Some(t), .. } if t == "payment.paid.v1")
    );
    let sent = &timeline.log[1].effects[0];
    assert!(matches!(sent, LoggedEffect::Command { step, attempt: 1, .. } if step == "shipping"), "{sent:?}");
    assert_eq!(timeline.log[0].trace_id, Some(trace), "the commands continue the trace");
    let json = serde_json::to_value(&timeline).unwrap();
    assert_eq!((&json["id"], &json["log"][1]["input"]["type"]), (&"7".into(), &"message".into()));
    assert_eq!(json["steps"][0]["status"], "done");
}
