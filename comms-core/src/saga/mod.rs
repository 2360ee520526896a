//! Sagas: one business operation across services that each commit alone.
//!
//! # The problem
//! An order takes a payment, reserves stock and books a courier, in three services with three databases. No transaction
//! spans them. When the courier refuses, the payment and the reservation must be undone, in spite of lost and repeated
//! messages, replies that come after the time limit, and crashes between any two of these. Written as handlers, the
//! order of the steps is spread over the services, and the paths of the failures are never run in a test.
//!
//! # The promise
//! A [`Definition`] lists the steps as data. [`Definition::transition`] is a pure function from an [`Instance`] and an
//! [`Input`] to the next instance and its [`Effect`]s. A coordinator stores the instance, commits the effects with it,
//! and returns replies and timers. So every path of a definition can be tested (`testing::saga::explore`) and drawn
//! ([`Definition::mermaid`]).
//!
//! - The stages run in order, and the steps of a [parallel](DefinitionBuilder::parallel) stage together.
//! - When a step fails, gets no reply in all its attempts, or the run is cancelled, the running steps are awaited. Then
//!   the executed steps are compensated, the last stage first. A step without a reply has an [unknown](StepStatus::Unknown)
//!   outcome and is compensated too.
//! - After the [pivot](Step::pivot) a run only goes forward: a later step is retried, then held.
//! - A compensation without a result is retried, then held. [`Effect::Alarm`] reports every hold, and an
//!   [`Operation`] or a late reply ends it. A run that has not ended has a timer or an alarm.
//! - A step is never executed after its compensation began. A late reply settles a step until its compensation begins,
//!   and changes nothing afterwards. A repeated timer, and a repeated reply to a settled step, change nothing.
//! - A transition that is repeated after a crash returns the same commands with the same identities ([`Command`]).
//!
//! # What breaks the promise
//! - A participant that executes a command twice: it must execute one [`Command::idempotency_key`] at most once, and
//!   reply again to a repeated command.
//! - A compensation that a participant refuses because it never saw the command, or that overtakes the command: send both
//!   to one [topic](Step::topic) with one key.
//! - A reply is not tied to an attempt: after the pivot, and for a compensation, a repeated or late failure counts as the
//!   failure of the attempt in progress. The step is then attempted again, or held, earlier than needed.
//! - Two steps that take the same event: a repeated reply to the first one settles the second, unless its function tells
//!   them apart. A step and its own compensation that take the same event: a late reply to the step settles the
//!   compensation.
//! - A function of the definition that reads a clock, a random number or a variable.
//! - A change of the steps without a new version.
//! - An [observed](Step::observe) step whose event comes after the run has failed: nothing compensates it. One whose event
//!   comes while an earlier stage is compensated is compensated at the same time as that stage.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use comms_core::{Error, event::Event, saga::{Definition, Effect, Input, Phase, Reply}};
//!
//! #[derive(Clone)]
//! struct Order { id: String, payment: Option<String> }
//! type Step = comms_core::saga::Step<Order>;
//! # macro_rules! event { ($name:ident, $type:literal) => {
//! #     #[derive(serde::Serialize, serde::Deserialize)]
//! #     struct $name { order: String }
//! #     impl Event for $name {
//! #         const TYPE: &'static str = $type;
//! #         const VERSION: u32 = 1;
//! #         fn key(&self) -> String { self.order.clone() }
//! #     }
//! # } }
//! # event!(RequestPayment, "payment.request");
//! # event!(Refund, "payment.refund");
//! # event!(Paid, "payment.paid");
//! # event!(Ship, "delivery.ship");
//! # event!(Refused, "delivery.refused");
//! # fn main() -> Result<(), Error> {
//! let definition = Definition::<Order>::builder("order", 1)
//!     .step(
//!         Step::command("payment", |saga| RequestPayment { order: saga.data.id.clone() })
//!             .reply::<Paid>(|order, paid| {
//!                 order.payment = Some(paid.order.clone());
//!                 Reply::Done
//!             })
//!             .compensate(|saga| Refund { order: saga.data.id.clone() })
//!             .topic("payment.commands")
//!             .time_limit(Duration::from_secs(30)),
//!     )
//!     .step(
//!         Step::command("delivery", |saga| Ship { order: saga.data.id.clone() })
//!             .reply::<Refused>(|_, _| Reply::Failed("no courier".into()))
//!             .time_limit(Duration::from_secs(60))
//!             .pivot(),
//!     )
//!     .build()?;
//!
//! let events = comms_core::event::EventSource::new("peers", comms_core::clock::Clock::system());
//! let started = definition.start("7", Order { id: "7".into(), payment: None })?;
//! let paid = events.message(&Paid { order: "7".into() })?;
//! let shipping = definition.transition(&started.instance, &Input::Message(&paid))?;
//! let refused = events.message(&Refused { order: "7".into() })?;
//! let failed = definition.transition(&shipping.instance, &Input::Message(&refused))?;
//! assert_eq!(failed.instance.phase, Phase::Failed);
//! assert!(failed.effects.iter().any(|e| matches!(e, Effect::Send(refund) if refund.event_type == "payment.refund.v1")));
//! # Ok(())
//! # }
//! ```

mod builder;
mod definition;
mod effect;
mod input;
mod instance;
mod labels;
mod machine;
mod mermaid;
mod plan;
mod reaction;
mod registry;
mod setup_error;
mod step;
#[cfg(test)]
mod tests;

pub use builder::DefinitionBuilder;
pub use definition::Definition;
pub use effect::{Command, Effect, TimerId, Transition};
pub use input::{ForcedStatus, Input, Operation};
pub use instance::{Action, Cause, Instance, Phase, StepState, StepStatus};
pub use reaction::Reply;
pub use registry::Definitions;
pub use setup_error::SetupError;
pub use step::Step;
