//! What every consumer and publisher shares, whatever its transport: an adapter for another broker differs only in its
//! client.
//!
//! In the order of a delivery: [`Lanes`] run deliveries of one key one after the other; a [`Processor`] attempts a
//! delivery by its [`BoxHandler`] until there is a [`Verdict`]; [`Holds`] lists the deliveries that wait for a cause
//! outside the message. [`Acks`] and [`Receipt`] are the answers of a [`Publisher`](crate::Publisher).

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
