//! The reservation of an order: a state machine whose transitions can be repeated in any order.

use comms_core::Error;

use super::{Ad, check_id};
use crate::contracts::{Money, ReservationStatus};

/// The largest quantity of a reservation.
const MAX_QUANTITY: u32 = 1_000;

/// The reservation of one order, as it is stored.
///
/// Each transition returns how many pieces it takes from the available stock of the ad; a negative number gives pieces
/// back. A reservation holds pieces if and only if it is RESERVED or CONFIRMED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::ad) struct Reservation {
    pub(in crate::services::ad) order_id: String,
    /// `None` until a reservation of the order was requested.
    pub(in crate::services::ad) ad_id: Option<String>,
    pub(in crate::services::ad) quantity: u32,
    pub(in crate::services::ad) status: ReservationStatus,
    pub(in crate::services::ad) reason: Option<String>,
    /// The number of this change of status, from 1. A reservation to which no command was applied has 0.
    pub(in crate::services::ad) sequence: i64,
    /// The end of RESERVED, in milliseconds since the Unix epoch.
    pub(in crate::services::ad) expires_at: i64,
    pub(in crate::services::ad) created_at: i64,
    pub(in crate::services::ad) updated_at: i64,
}

/// What an order wants to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::ad) struct Wanted {
    pub(in crate::services::ad) ad_id: String,
    pub(in crate::services::ad) quantity: u32,
    /// The price of one piece that the buyer has seen.
    pub(in crate::services::ad) unit_price: Money,
}

impl Wanted {
    /// Checks the fields.
    ///
    /// # Errors
    /// Returns `Invalid` if the id is not the id of an ad, or the quantity is not from 1 to 1,000.
    pub(in crate::services::ad) fn validate(&self) -> Result<(), Error> {
        check_id(&self.ad_id)?;
        match (1..=MAX_QUANTITY).contains(&self.quantity) {
            true => Ok(()),
            false => Err(Error::invalid(format!("the quantity must be from 1 to {MAX_QUANTITY}"))),
        }
    }
}

impl Reservation {
    /// Creates the reservation of an order to which no command was applied. It holds no pieces.
    pub(in crate::services::ad) const fn new(order_id: String, now: i64) -> Self {
        Self {
            order_id,
            ad_id: None,
            quantity: 0,
            status: ReservationStatus::Released,
            reason: None,
            sequence: 0,
            expires_at: now,
            created_at: now,
            updated_at: now,
        }
    }

    /// Reserves what is `wanted` until `expires_at`. `ad` is the ad that is wanted, if there is one.
    ///
    /// A reservation that was released before is rejected, because the release of an order may overtake its reservation.
    /// In every other state the call is a repetition and changes nothing.
    ///
    /// # Errors
    /// Returns `Invalid` if the order has a reservation of another ad or of another quantity.
    pub(in crate::services::ad) fn reserve(
        &mut self,
        wanted: &Wanted,
        ad: Option<&Ad>,
        expires_at: i64,
        now: i64,
    ) -> Result<i64, Error> {
        let is_same = |ad_id: &String| (ad_id, self.quantity) == (&wanted.ad_id, wanted.quantity);
        if !self.ad_id.as_ref().is_none_or(is_same) {
            return Err(Error::invalid("the order has a reservation of another ad or of another quantity"));
        }
        if self.status != ReservationStatus::Released {
            return Ok(0);
        }
        let refusal = match (self.sequence, ad) {
            (1.., _) => Some("released"),
            (_, None) => Some("unknown_ad"),
            (_, Some(ad)) if ad.price != wanted.unit_price => Some("price_changed"),
            (_, Some(ad)) if ad.available < wanted.quantity => Some("out_of_stock"),
            _ => None,
        };
        self.ad_id = Some(wanted.ad_id.clone());
        self.quantity = wanted.quantity;
        if let Some(reason) = refusal {
            return Ok(self.change(ReservationStatus::Rejected, Some(reason), now));
        }
        self.expires_at = expires_at;
        Ok(self.change(ReservationStatus::Reserved, None, now))
    }

    /// Makes a reservation permanent. An expired one takes its pieces again, or is rejected as `expired` if fewer than its
    /// quantity are `available`. A reservation that was rejected or released stays as it is: its order is cancelled.
    pub(in crate::services::ad) fn confirm(&mut self, available: u32, now: i64) -> i64 {
        match self.status {
            ReservationStatus::Reserved => self.change(ReservationStatus::Confirmed, None, now),
            ReservationStatus::Expired if available >= self.quantity => {
                self.change(ReservationStatus::Confirmed, None, now)
            }
            ReservationStatus::Expired => self.change(ReservationStatus::Rejected, Some("expired"), now),
            ReservationStatus::Confirmed | ReservationStatus::Rejected | ReservationStatus::Released => 0,
        }
    }

    /// Releases the reservation in whatever state it is. A second release changes nothing.
    pub(in crate::services::ad) fn release(&mut self, now: i64) -> i64 {
        match self.status {
            ReservationStatus::Released if self.sequence > 0 => 0,
            _ => self.change(ReservationStatus::Released, None, now),
        }
    }

    /// Expires a reservation that is not confirmed and whose time is over.
    pub(in crate::services::ad) fn expire(&mut self, now: i64) -> i64 {
        match self.status == ReservationStatus::Reserved && self.expires_at <= now {
            true => self.change(ReservationStatus::Expired, None, now),
            false => 0,
        }
    }

    /// Returns the number of pieces that the reservation holds.
    pub(in crate::services::ad) fn held(&self) -> i64 {
        match self.status {
            ReservationStatus::Reserved | ReservationStatus::Confirmed => i64::from(self.quantity),
            ReservationStatus::Rejected | ReservationStatus::Released | ReservationStatus::Expired => 0,
        }
    }

    /// Enters `status`, and returns the number of pieces that the change takes.
    fn change(&mut self, status: ReservationStatus, reason: Option<&str>, now: i64) -> i64 {
        let before = self.held();
        self.status = status;
        self.reason = reason.map(str::to_owned);
        self.sequence += 1;
        self.updated_at = now;
        self.held() - before
    }
}
