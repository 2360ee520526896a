//! The contract of ad-service: its events (`docs/reference/wire-formats.md`) and its gRPC calls.

use comms_core::event::Event;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

/// The code that the build script generates from `ads.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]
pub mod proto {
    tonic::include_proto!("comms.ads.v1");
}

/// The largest number of ads on one page of a list.
pub const MAX_PAGE: u32 = 100;
/// The longest title of an ad, in characters.
pub const MAX_TITLE: usize = 200;
/// The longest description of an ad, in characters.
pub const MAX_DESCRIPTION: usize = 4_000;
/// The largest stock of an ad.
pub const MAX_STOCK: u32 = 1_000_000;

/// The status of an order's reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, EnumString)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ReservationStatus {
    /// The pieces are taken from the stock until the reservation expires.
    Reserved,
    /// The pieces could not be taken.
    Rejected,
    /// The pieces are sold.
    Confirmed,
    /// The pieces are given back, or were never taken.
    Released,
    /// The reservation was not confirmed in time, and the pieces are given back.
    Expired,
}

/// The event that announces the state of an order's reservation. It is published for each command, also for a repeated
/// one: a copy has the same sequence and another message id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationChanged {
    /// The id of the order. It is the key of the message.
    pub order_id: String,
    /// The id of the ad. `None` if the order was released before a reservation.
    pub ad_id: Option<String>,
    /// The number of pieces.
    pub quantity: u32,
    /// The status.
    pub status: ReservationStatus,
    /// The reason of a rejection.
    pub reason: Option<String>,
    /// The number of this change of the reservation, from 1 without gaps.
    pub sequence: i64,
    /// The time of the change (RFC 3339).
    pub changed_at: String,
}

impl Event for ReservationChanged {
    const TYPE: &'static str = "ad.reservation.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}
