//! The parts that all consumers and publishers share, for authors of a consumer or publisher of another broker.
//!
//! A *consumer* receives deliveries from a broker, passes them to these parts, and acknowledges them, as the consumer
//! of `comms-kafka` does. A delivery passes the parts in this order:
//!
//! 1. [`Lanes`] run the deliveries of one key one after the other.
//! 2. A [`Processor`] calls the handler (a [`BoxHandler`]) with the delivery. After an error it attempts the delivery
//!    again, until the result is final. The result is a [`Verdict`]: the delivery is done, is to be dead-lettered, is
//!    returned for a later attempt, is abandoned, or stops the process. The consumer carries out the verdict.
//! 3. [`Holds`] lists the deliveries that the processors *hold*: they attempt these deliveries again, without counting
//!    attempts, because the cause of the failure lies outside the message.
//!
//! [`Acks`] and [`Receipt`] are the results of a [`Publisher`](crate::Publisher).

mod holds;
mod lanes;
mod processor;

pub use crate::{
    error::Disposition,
    handler::{BoxBatchHandler, BoxHandler},
    publisher::{Acks, Receipt},
};
pub use holds::{Hold, HoldGuard, Holds};
pub use lanes::Lanes;
pub use processor::{AttemptConfig, Processor, Verdict};
