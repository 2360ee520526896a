//! The parts that all consumers and publishers share, for authors of a consumer or publisher of another broker.
//!
//! A *consumer* receives deliveries from a broker, passes them to these parts, and acknowledges them, as the consumer
//! of `comms-kafka` does. A delivery passes the parts in this order:
//!
//! 1. A [`Worker`] runs the deliveries of one source, those of one key one after the other, within the limits of the
//!    consumer's [`Budget`].
//! 2. Each call of the handler (a [`BoxHandler`]) is an [`Attempt`]. A [`BoxBatchHandler`] is called with many deliveries
//!    at once. After an error the worker attempts the delivery again as its [`Processor`] says, until the result is final.
//! 3. [`Holds`] lists the deliveries that are *held*: they are attempted again, without counting attempts, because the
//!    cause of the failure lies outside the message.
//! 4. [`DeadLetters`] writes the deliveries that failed for good, or another [`FailurePolicy`] applies.
//! 5. The worker returns a [`Settlement`]: the delivery is done, is dead-lettered, is refused, is returned for a later
//!    attempt, is abandoned, or stops the process. The consumer acknowledges up to the [`Frontier`].
//!
//! A record without an identity gets the id that [`PositionId`] writes. [`Acks`] and [`Receipt`] are the results of a
//! [`Publisher`](crate::Publisher).

mod budget;
mod dead_letter;
mod frontier;
mod holds;
mod policy;
mod position_id;
mod processor;
mod worker;

pub use crate::{
    error::Disposition,
    handler::{Attempt, BoxBatchHandler, BoxHandler, TopicHandler},
    publisher::{Acks, Receipt},
};
pub use budget::{Budget, BudgetConfig};
pub use dead_letter::{DeadLetters, Form};
pub use frontier::Frontier;
pub use holds::{Hold, HoldGuard, Holds};
pub use policy::{FailureDecision, FailurePolicy};
pub use position_id::PositionId;
pub use processor::{AttemptConfig, Processor};
pub use worker::{BatchConfig, Ordering, Settled, Settlement, Worker, WorkerConfig};
