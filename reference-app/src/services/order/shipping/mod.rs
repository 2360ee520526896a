//! The shipment of orders.
//!
//! [`Shipping`] is what the saga needs of a courier. [`LocalStandIn`] takes the place of one, so that the marketplace runs
//! without an account at a courier: it stores the shipments in order-service's own database and moves no goods.
//!
//! - `domain`: a shipment and its transitions.
//! - `store`: the SQL.
//! - `stand_in`: the calls, and the sweep that delivers.
//! - `settings`: the section `[order.shipping]` of the configuration.

mod domain;
mod settings;
mod stand_in;
mod store;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use comms_core::Error;

pub(super) use settings::Settings;
pub(super) use stand_in::LocalStandIn;

use super::saga::messages::ShipOrder;

/// A courier that accepts and delivers the shipments of orders.
///
/// The answers are events: `delivery.status.changed`. Each call executes its key at most once, and a repeated call
/// publishes the answer again, because its caller waits for an event.
#[async_trait]
pub(super) trait Shipping: Send + Sync {
    /// Requests the shipment of `order`. The answer is ACCEPTED or REFUSED.
    ///
    /// # Errors
    /// Returns the kinds of a call to another service, and `NotExecuted` if the courier cannot be reached.
    async fn create(&self, key: &str, order: &ShipOrder) -> Result<(), Error>;

    /// Withdraws the shipment of an order, so that it is not delivered any more. The answer is REFUSED. A shipment that
    /// was never requested is recorded as refused, so that a request that comes later is refused.
    ///
    /// # Errors
    /// Returns `Invalid` if the order was delivered, and the errors of [`create`](Self::create).
    async fn cancel(&self, key: &str, order_id: &str) -> Result<(), Error>;
}
