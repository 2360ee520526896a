//! The contract of deliveries: the events of the shipments of orders (`docs/reference/wire-formats.md`). order-service
//! writes them for the courier.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

/// The status of a shipment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryStatus {
    /// The courier has accepted the shipment, and delivers it.
    Accepted,
    /// The courier does not deliver the shipment. This status is final.
    Refused,
    /// The buyer has received the shipment. This status is final.
    Delivered,
}

/// The event that a shipment entered a status. A repeated command publishes the events again, as other messages with the
/// same [`sequence`](Self::sequence).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryStatusChanged {
    /// The id of the order. It is the key of the message.
    pub order_id: String,
    /// The new status.
    pub status: DeliveryStatus,
    /// The number of this change of the shipment, from 1 without gaps.
    pub sequence: i64,
    /// The reason of a refusal.
    pub reason: Option<String>,
    /// The time of the change (RFC 3339).
    pub changed_at: String,
}

impl Event for DeliveryStatusChanged {
    const TYPE: &'static str = "delivery.status.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
