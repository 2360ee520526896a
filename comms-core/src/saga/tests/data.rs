//! The order saga of the tests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    resilience::{Backoff, Jitter},
    saga::{Definition, Reply},
};

pub(super) type Step = crate::saga::Step<Order>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) payment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) order: String,
}

/// A command to do or to undo something for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Do<const STEP: char>(pub(super) String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo<const STEP: char>(pub(super) String);

/// A participant's answer to [`Do`] (`true`: executed) or [`Undo`] (`true`: undone).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Did<const STEP: char>(pub(super) String, pub(super) bool);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undid<const STEP: char>(pub(super) String, pub(super) bool);

macro_rules! event {
    ($($name:ident $kind:literal),*) => { $(
        impl<const STEP: char> Event for $name<STEP> {
            const TYPE: &'static str = match STEP {
                'P' => concat!("payment.", $kind),
                'I' => concat!("inventory.", $kind),
                'S' => concat!("shipping.", $kind),
                _ => concat!("other.", $kind),
            };
            const VERSION: u32 = 1;
            fn key(&self) -> String {
                self.0.clone()
            }
        }
    )* };
}
event!(Do "do", Undo "undo", Did "did", Undid "undid");

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

pub(super) fn result(done: bool) -> Reply {
    if done { Reply::Done } else { Reply::Failed("refused".into()) }
}

/// A step with two attempts, one second each, and a wait of ten seconds.
pub(super) fn step<const STEP: char>(name: &str) -> Step {
    Step::command(name, |saga| Do::<STEP>(saga.id.clone()))
        .reply::<Did<STEP>>(|_, did| result(did.1))
        .topic(format!("{name}.commands"))
        .time_limit(Duration::from_secs(1))
        .attempts(2, steady())
}

pub(super) fn undoable<const STEP: char>(name: &str) -> Step {
    step::<STEP>(name)
        .compensate(|saga| Undo::<STEP>(saga.id.clone()))
        .compensated_by::<Undid<STEP>>(|_, undid| result(undid.1))
}

/// Always ten seconds.
pub(super) fn steady() -> Backoff {
    let wait = Duration::from_secs(10);
    Backoff::new(wait, wait).unwrap().with_jitter(Jitter::Ratio(0.0)).unwrap()
}

pub(super) fn payment() -> Step {
    Step::command("payment", |saga| Do::<'P'>(saga.id.clone()))
        .reply::<Did<'P'>>(|order, did| {
            order.payment = Some(did.0.clone());
            result(did.1)
        })
        .compensate(|saga| Undo::<'P'>(saga.id.clone()))
        .compensated_by::<Undid<'P'>>(|_, undid| result(undid.1))
        .topic("payment.commands")
        .time_limit(Duration::from_secs(1))
        .attempts(2, steady())
        .running("PaymentProcessing")
        .compensating("PaymentCancelled")
}

/// Payment, inventory, and shipping as the pivot, each with two attempts.
pub(super) fn order() -> Definition<Order> {
    Definition::builder("order", 1)
        .start::<Placed>(|_| Order::default())
        .step(payment())
        .step(undoable::<'I'>("inventory").done("InventoryReserved").compensating("CompensateInventory"))
        .step(step::<'S'>("shipping").running("ShippingProcessing").pivot())
        .build()
        .unwrap()
}

/// Payment and inventory in parallel, then shipping.
pub(super) fn parallel() -> Definition<Order> {
    Definition::builder("order", 1)
        .parallel([payment(), undoable::<'I'>("inventory")])
        .step(step::<'S'>("shipping"))
        .build()
        .unwrap()
}

pub(super) const ID: &str = "7";

pub(super) fn did<const STEP: char>(done: bool) -> Did<STEP> {
    Did(ID.into(), done)
}

pub(super) fn undid<const STEP: char>(done: bool) -> Undid<STEP> {
    Undid(ID.into(), done)
}
