//! The contract of order-service: its events (`docs/reference/wire-formats.md`) and its gRPC calls.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Money;

/// The code that the build script generates from `orders.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.orders.v1");
}

/// The largest number of orders on one page of a list.
pub const MAX_PAGE: u32 = 100;

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// The order is accepted, and its payment is not settled yet.
    Created,
    /// The buyer was charged.
    Paid,
    /// The payment was declined. This status is final.
    PaymentFailed,
    /// The order was sent to the buyer.
    Shipped,
    /// The buyer has received the order.
    Delivered,
    /// The order was cancelled.
    Cancelled,
}

/// The event that an order entered a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatusChanged {
    /// The id of the order. It is the key of the message.
    pub order_id: String,
    /// The id of the buyer.
    pub buyer_id: String,
    /// The new status.
    pub status: OrderStatus,
    /// The number of this change of the order, from 1 without gaps.
    pub sequence: i64,
    /// The price of all pieces.
    pub total: Money,
    /// The reason of a failure.
    pub reason: Option<String>,
    /// The time of the change (RFC 3339).
    pub changed_at: String,
    /// The ordered pieces. Absent in an event of an older program.
    #[serde(default)]
    pub item: Option<OrderItem>,
    /// Whether the services react to the events of this order, instead of commands of the saga. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub choreographed: bool,
}

/// The pieces of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderItem {
    /// The ad.
    pub ad_id: String,
    /// The number of pieces.
    pub quantity: u32,
    /// The price of one piece.
    pub unit_price: Money,
}

impl Event for OrderStatusChanged {
    const TYPE: &'static str = "order.status.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
