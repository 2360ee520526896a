//! The saga of an order: payment, stock, confirmation of the stock, shipment, delivery. This module does no I/O.
//!
//! - `definition`: the steps of both variants, `order` and `order-choreographed`.
//! - `replies`: what an event of a participant means for a step.
//! - `messages`: the commands of the steps.
//! - `changes`: what the state of a run means for the order.
//! - `limits`: the section `[order.saga]` of the configuration.
//!
//! `docs/reference/order-saga.md` has the diagrams and the table of states.

mod changes;
mod definition;
mod limits;
pub(super) mod messages;
mod replies;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(super) use changes::changes;
pub(super) use definition::{choreographed, orchestrated};
pub(super) use limits::Limits;

use crate::contracts::{Money, OrderItem};

/// The data of a run. The id of the run is the id of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderData {
    pub(super) buyer_id: String,
    pub(super) item: OrderItem,
    /// The price of all pieces.
    pub(super) total: Money,
    /// The id of the payment, from the first event that has settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment_id: Option<String>,
    /// Whether the buyer was charged and has the money back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) refunded: bool,
}

impl OrderData {
    /// Returns the data with which the run of a new order starts.
    pub(super) const fn new(buyer_id: String, item: OrderItem, total: Money) -> Self {
        Self { buyer_id, item, total, payment_id: None, refunded: false }
    }
}
