//! The contract of order-service: its events (`docs/reference/wire-formats.md`) and its gRPC calls.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Money;

/// Generated from `orders.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.orders.v1");
}

/// The most orders that one page of a list may have.
pub const MAX_PAGE: u32 = 100;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Accepted; the payment is being asked for.
    Created,
    /// The money has moved.
    Paid,
    /// The payment was declined; nothing more will happen.
    PaymentFailed,
    /// On its way.
    Shipped,
    /// With the buyer.
    Delivered,
    /// Called off.
    Cancelled,
}

/// An order has entered a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatusChanged {
    /// The order, and the key.
    pub order_id: String,
    /// Whose it is.
    pub buyer_id: String,
    /// The status entered.
    pub status: OrderStatus,
    /// Counts the changes of this order from 1 without gaps.
    pub sequence: i64,
    /// What it costs in all.
    pub total: Money,
    /// Why a failure state was entered.
    pub reason: Option<String>,
    /// When, RFC 3339.
    pub changed_at: String,
}

impl Event for OrderStatusChanged {
    const TYPE: &'static str = "order.status.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
