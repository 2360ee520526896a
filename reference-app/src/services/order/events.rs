//! The events of an order, in their newest versions. They are stored in the stream of the order and are private to
//! order-service: other services read `order.status.changed`.
//!
//! The key of each is the id of the stream, which the repository sets. `at` is the time of the change, in milliseconds
//! since the Unix epoch.

use comms_core::{
    Error, Message,
    event::{Event, EventSource},
    event_sourcing::{EventSet, one_of},
};
use serde::{Deserialize, Serialize};

use crate::contracts::{Money, OrderStatus};

/// An event of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrderEvent {
    Placed(Placed),
    PaymentStarted(PaymentStarted),
    Paid(Paid),
    PaymentFailed(PaymentFailed),
    Reserved(Reserved),
    Shipped(Shipped),
    Delivered(Delivered),
    Cancelled(Cancelled),
    Refunded(Refunded),
}

impl OrderEvent {
    /// Returns the status that the order enters by this event. `None` if its status stays.
    pub(super) fn entered(&self) -> Option<Entered> {
        let (status, reason, at) = match self {
            Self::Placed(event) => (OrderStatus::Created, None, event.at),
            Self::Paid(event) => (OrderStatus::Paid, None, event.at),
            Self::PaymentFailed(event) => (OrderStatus::PaymentFailed, event.reason.clone(), event.at),
            Self::Shipped(event) => (OrderStatus::Shipped, None, event.at),
            Self::Delivered(event) => (OrderStatus::Delivered, None, event.at),
            Self::Cancelled(event) => (OrderStatus::Cancelled, Some(event.reason.clone()), event.at),
            Self::PaymentStarted(_) | Self::Reserved(_) | Self::Refunded(_) => return None,
        };
        Some(Entered { status, reason, at })
    }
}

/// A status that an order has entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) status: OrderStatus,
    /// The cause of a failure.
    pub(super) reason: Option<String>,
    pub(super) at: i64,
}

impl EventSet for OrderEvent {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        match self {
            Self::Placed(event) => source.message(event),
            Self::PaymentStarted(event) => source.message(event),
            Self::Paid(event) => source.message(event),
            Self::PaymentFailed(event) => source.message(event),
            Self::Reserved(event) => source.message(event),
            Self::Shipped(event) => source.message(event),
            Self::Delivered(event) => source.message(event),
            Self::Cancelled(event) => source.message(event),
            Self::Refunded(event) => source.message(event),
        }
    }

    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message)
            .event(Self::Placed)
            .event(Self::PaymentStarted)
            .event(Self::Paid)
            .event(Self::PaymentFailed)
            .event(Self::Reserved)
            .event(Self::Shipped)
            .event(Self::Delivered)
            .event(Self::Cancelled)
            .event(Self::Refunded)
            .decode()
    }
}

/// The order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    /// The id of the order, which is also the id of its stream.
    pub(super) order_id: String,
    pub(super) buyer_id: String,
    pub(super) ad_id: String,
    pub(super) quantity: u32,
    pub(super) unit_price: Money,
    /// Whether other services react to the events of the order, instead of commands of its saga.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) choreographed: bool,
    pub(super) at: i64,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// payment-service has created the payment of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PaymentStarted {
    pub(super) payment_id: String,
    pub(super) at: i64,
}

impl Event for PaymentStarted {
    const TYPE: &'static str = "order.payment.started";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The buyer was charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paid {
    pub(super) at: i64,
}

impl Event for Paid {
    const TYPE: &'static str = "order.paid";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The payment was declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PaymentFailed {
    pub(super) reason: Option<String>,
    pub(super) at: i64,
}

impl Event for PaymentFailed {
    const TYPE: &'static str = "order.payment.failed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The pieces are reserved for the buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reserved {
    pub(super) at: i64,
}

impl Event for Reserved {
    const TYPE: &'static str = "order.reserved";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The order was sent to the buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shipped {
    pub(super) at: i64,
}

impl Event for Shipped {
    const TYPE: &'static str = "order.shipped";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The buyer has received the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivered {
    pub(super) at: i64,
}

impl Event for Delivered {
    const TYPE: &'static str = "order.delivered";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cancelled {
    pub(super) reason: String,
    pub(super) at: i64,
}

impl Event for Cancelled {
    const TYPE: &'static str = "order.cancelled";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

/// The buyer got the money of the cancelled order back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refunded {
    pub(super) at: i64,
}

impl Event for Refunded {
    const TYPE: &'static str = "order.refunded";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}
