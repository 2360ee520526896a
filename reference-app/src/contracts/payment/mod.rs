//! The contract of payment-service: its events (`docs/reference/wire-formats.md`) and its gRPC calls.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Money;

/// The code that the build script generates from `payments.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.payments.v1");
}

/// The status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentStatus {
    /// The payment is requested and not settled yet.
    Pending,
    /// The buyer was charged. A cancellation turns this status into [`Refunded`](Self::Refunded).
    Succeeded,
    /// The payment was refused. This status is final.
    Declined,
    /// The payment was cancelled before the buyer was charged. This status is final.
    Cancelled,
    /// The buyer was charged, and has the money back. This status is final.
    Refunded,
}

impl PaymentStatus {
    /// Returns whether the payment stays in this status for ever.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Declined | Self::Cancelled | Self::Refunded)
    }
}

/// The event that a payment entered a status. A repeated request or cancellation publishes the current status again, as
/// another message with the same [`sequence`](Self::sequence).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentStatusChanged {
    /// The id of the payment.
    pub payment_id: String,
    /// The id of the order that is paid. It is the key of the message, so the events of one order keep their order.
    pub order_id: String,
    /// The new status.
    pub status: PaymentStatus,
    /// The number of this change of the payment, from 1 without gaps.
    pub sequence: i64,
    /// The amount of the payment.
    pub amount: Money,
    /// The reason of a refusal.
    pub reason: Option<String>,
    /// The time of the change (RFC 3339).
    pub changed_at: String,
}

impl Event for PaymentStatusChanged {
    const TYPE: &'static str = "payment.status.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
