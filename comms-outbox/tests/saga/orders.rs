//! The saga of the tests: an order with a payment, a reservation of stock and a shipment.

use std::time::Duration;

use comms_core::{
    event::Event,
    resilience::{Backoff, Jitter},
    saga::{Definition, Reply, Step},
};
use serde::{Deserialize, Serialize};

/// The letters of the services.
pub const PAYMENT: char = 'P';
pub const STOCK: char = 'S';
pub const SHIPPING: char = 'X';

/// The name of the service of a letter: the name of its step and the topic of its commands.
pub const fn service(letter: char) -> &'static str {
    match letter {
        PAYMENT => "payment",
        STOCK => "stock",
        _ => "shipping",
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placed(pub String);

/// A command to do or to undo something for an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Do<const SERVICE: char>(pub String);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Undo<const SERVICE: char>(pub String);

/// The announcement that a service has done (`true`) or refused something.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Did<const SERVICE: char>(pub String, pub bool);

/// The announcement that a service has undone something (`true`), or cannot now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Undid<const SERVICE: char>(pub String, pub bool);

macro_rules! event {
    ($($name:ident $kind:literal),*) => { $(
        impl<const SERVICE: char> Event for $name<SERVICE> {
            const TYPE: &'static str = match SERVICE {
                PAYMENT => concat!("payment.", $kind),
                STOCK => concat!("stock.", $kind),
                _ => concat!("shipping.", $kind),
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
        self.0.clone()
    }
}

/// Topics of the events that the saga handles.
pub const EVENTS: [&str; 6] = [
    Placed::TYPE,
    Did::<PAYMENT>::TYPE,
    Did::<STOCK>::TYPE,
    Did::<SHIPPING>::TYPE,
    Undid::<PAYMENT>::TYPE,
    Undid::<STOCK>::TYPE,
];

/// How the services of a saga learn what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The saga sends a command for each step.
    Orchestrated,
    /// The services react to each other's events. The saga observes them, and compensates.
    Choreographed,
}

/// The waits of a definition.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub limit: Duration,
    pub attempts: u32,
    pub backoff: Duration,
}

fn result(ok: bool) -> Reply {
    if ok { Reply::Done } else { Reply::Failed("refused".into()) }
}

/// Adds what is equal in both styles.
fn common<const SERVICE: char>(step: Step<()>, times: Times) -> Step<()> {
    let backoff = Backoff::new(times.backoff, times.backoff).unwrap();
    let backoff = backoff.with_jitter(Jitter::Ratio(0.0)).unwrap();
    step.reply::<Did<SERVICE>>(|(), did| result(did.1))
        .topic(service(SERVICE))
        .time_limit(times.limit)
        .attempts(times.attempts, backoff)
}

fn undoable<const SERVICE: char>(step: Step<()>) -> Step<()> {
    step.compensate(|saga| Undo::<SERVICE>(saga.id.clone()))
        .compensated_by::<Undid<SERVICE>>(|(), undid| result(undid.1))
}

fn command<const SERVICE: char>(times: Times) -> Step<()> {
    common::<SERVICE>(Step::command(service(SERVICE), |saga| Do::<SERVICE>(saga.id.clone())), times)
}

fn observe<const SERVICE: char>(times: Times) -> Step<()> {
    // An observed event cannot be asked for again, so that its wait must outlast every outage of a test.
    common::<SERVICE>(Step::observe(service(SERVICE)), Times { limit: Duration::from_secs(600), ..times })
}

pub fn definition(style: Style, times: Times) -> Definition<()> {
    let builder = Definition::builder("order", 1).start::<Placed>(|_| ());
    let builder = match style {
        Style::Orchestrated => builder
            .parallel([
                undoable::<PAYMENT>(command::<PAYMENT>(times)),
                undoable::<STOCK>(command::<STOCK>(times)),
            ])
            .step(command::<SHIPPING>(times).pivot()),
        Style::Choreographed => builder
            .step(undoable::<PAYMENT>(observe::<PAYMENT>(times)))
            .step(undoable::<STOCK>(observe::<STOCK>(times)))
            .step(observe::<SHIPPING>(times)),
    };
    builder.build().unwrap()
}

/// A payment and a shipment, for tests that visit every state.
pub fn two_steps(times: Times) -> Definition<()> {
    let builder = Definition::builder("order", 1).start::<Placed>(|_| ());
    let payment = undoable::<PAYMENT>(command::<PAYMENT>(times));
    builder.step(payment).step(command::<SHIPPING>(times).pivot()).build().unwrap()
}
