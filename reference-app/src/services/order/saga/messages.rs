//! The commands of the order saga. order-service writes and reads them on the topic `order.commands`, with the id of the
//! order as their key. So the commands of an order keep their order, and a compensation cannot overtake its command.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};

use crate::contracts::{Money, OrderItem};

/// The topic of all commands.
pub(in crate::services::order) const TOPIC: &str = "order.commands";

/// Requests the payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct RequestPayment {
    pub(in crate::services::order) order_id: String,
    pub(in crate::services::order) buyer_id: String,
    pub(in crate::services::order) amount: Money,
}

/// Cancels or refunds the payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct CancelPayment {
    pub(in crate::services::order) order_id: String,
    pub(in crate::services::order) buyer_id: String,
    pub(in crate::services::order) amount: Money,
}

/// Reserves the pieces of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct ReserveStock {
    pub(in crate::services::order) order_id: String,
    pub(in crate::services::order) item: OrderItem,
}

/// Gives the pieces of an order back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct ReleaseStock {
    pub(in crate::services::order) order_id: String,
}

/// Makes the reservation of an order permanent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct ConfirmStock {
    pub(in crate::services::order) order_id: String,
}

/// Orders the shipment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::services::order) struct ShipOrder {
    pub(in crate::services::order) order_id: String,
    pub(in crate::services::order) buyer_id: String,
    pub(in crate::services::order) ad_id: String,
    pub(in crate::services::order) quantity: u32,
}

impl Event for RequestPayment {
    const TYPE: &'static str = "order.payment.request";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Event for CancelPayment {
    const TYPE: &'static str = "order.payment.cancel";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Event for ReserveStock {
    const TYPE: &'static str = "order.stock.reserve";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Event for ReleaseStock {
    const TYPE: &'static str = "order.stock.release";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Event for ConfirmStock {
    const TYPE: &'static str = "order.stock.confirm";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Event for ShipOrder {
    const TYPE: &'static str = "order.shipment.create";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
