//! The contract of payment-service: its events (`docs/reference/wire-formats.md`) and its gRPC calls.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use super::Money;

/// Generated from `payments.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.payments.v1");
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
