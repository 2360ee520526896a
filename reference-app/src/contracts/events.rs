//! The events of `docs/reference/wire-formats.md`.

use comms_core::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Money;

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

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentStatus {
    /// Asked for, in progress.
    Pending,
    /// The money has moved.
    Succeeded,
    /// Refused for good.
    Declined,
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

/// A payment has entered a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentStatusChanged {
    /// The payment.
    pub payment_id: String,
    /// What it pays, and the key: one order's events keep their order.
    pub order_id: String,
    /// The status entered.
    pub status: PaymentStatus,
    /// Counts the changes of this payment from 1 without gaps.
    pub sequence: i64,
    /// How much.
    pub amount: Money,
    /// Why it was declined.
    pub reason: Option<String>,
    /// When, RFC 3339.
    pub changed_at: String,
}

impl Event for PaymentStatusChanged {
    const TYPE: &'static str = "payment.status.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
