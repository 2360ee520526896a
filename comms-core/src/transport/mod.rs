//! The parts that every consumer and publisher shares: an adapter for another broker adds only the broker's client.
//!
//! A delivery passes them in this order. [`Lanes`] run the deliveries of one key one after the other. A [`Processor`]
//! calls the [`BoxHandler`] with the delivery until there is a [`Verdict`]. [`Holds`] lists the deliveries that the
//! processors hold because the cause of the failure lies outside the message.
//!
//! [`Acks`] and [`Receipt`] are the results of a [`Publisher`](crate::Publisher).

mod holds;
mod lanes;
mod processor;

pub use crate::{
    error::Disposition,
    handler::BoxHandler,
    publisher::{Acks, Receipt},
};
pub use holds::{Hold, HoldGuard, Holds};
pub use lanes::Lanes;
pub use processor::{AttemptConfig, Processor, Verdict};
