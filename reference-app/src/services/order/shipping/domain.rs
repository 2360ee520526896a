//! A shipment and its transitions. This module does no I/O.

use std::time::Duration;

use comms_core::{Error, clock::rfc3339};

use crate::contracts::{DeliveryStatus, DeliveryStatusChanged};

/// The reason of a shipment that was withdrawn.
const CANCELLED: &str = "cancelled";

/// A shipment, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shipment {
    pub(super) order_id: String,
    pub(super) status: DeliveryStatus,
    /// The number of this change of status, from 1.
    pub(super) sequence: i64,
    pub(super) reason: Option<String>,
    /// The time of the delivery of an accepted shipment. Like all times, milliseconds since the Unix epoch.
    pub(super) due_at: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

impl Shipment {
    /// Creates an accepted shipment that is delivered at `due_at`.
    pub(super) fn accepted(order_id: &str, due_at: i64, now: i64) -> Self {
        Self {
            order_id: order_id.to_owned(),
            status: DeliveryStatus::Accepted,
            sequence: 1,
            reason: None,
            due_at,
            created_at: now,
            updated_at: now,
        }
    }

    /// Creates a refused shipment.
    pub(super) fn refused(order_id: &str, reason: &str, now: i64) -> Self {
        let (status, reason) = (DeliveryStatus::Refused, Some(reason.to_owned()));
        Self { status, reason, ..Self::accepted(order_id, now, now) }
    }

    /// Creates the record of a shipment that was withdrawn before it was requested.
    pub(super) fn never_requested(order_id: &str, now: i64) -> Self {
        Self::refused(order_id, CANCELLED, now)
    }

    /// Delivers an accepted shipment that is due. Returns `false` if the shipment is not due, refused, or delivered
    /// before.
    pub(super) fn deliver(&mut self, now: i64) -> bool {
        if self.status != DeliveryStatus::Accepted || self.due_at > now {
            return false;
        }
        self.enter(DeliveryStatus::Delivered, None, now);
        true
    }

    /// Withdraws an accepted shipment. Returns `false` if the shipment was refused before.
    ///
    /// # Errors
    /// Returns `Invalid` if the shipment was delivered.
    pub(super) fn cancel(&mut self, now: i64) -> Result<bool, Error> {
        match self.status {
            DeliveryStatus::Accepted => {
                self.enter(DeliveryStatus::Refused, Some(CANCELLED.to_owned()), now);
                Ok(true)
            }
            DeliveryStatus::Refused => Ok(false),
            DeliveryStatus::Delivered => {
                let text = format!("the order {} was delivered and cannot be called back", self.order_id);
                Err(Error::invalid(text))
            }
        }
    }

    /// Returns the event of the current status.
    pub(super) fn event(&self) -> DeliveryStatusChanged {
        DeliveryStatusChanged {
            order_id: self.order_id.clone(),
            status: self.status,
            sequence: self.sequence,
            reason: self.reason.clone(),
            changed_at: time(self.updated_at),
        }
    }

    /// Returns the events of a shipment that is requested again: the answer to the request, and the delivery.
    pub(super) fn events(&self) -> Vec<DeliveryStatusChanged> {
        if self.status != DeliveryStatus::Delivered {
            return vec![self.event()];
        }
        let (status, changed_at) = (DeliveryStatus::Accepted, time(self.created_at));
        vec![DeliveryStatusChanged { status, sequence: 1, changed_at, ..self.event() }, self.event()]
    }

    fn enter(&mut self, status: DeliveryStatus, reason: Option<String>, now: i64) {
        (self.status, self.reason, self.updated_at) = (status, reason, now);
        self.sequence += 1;
    }
}

fn time(unix_millis: i64) -> String {
    rfc3339(Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_shipment_is_delivered_once_when_it_is_due() {
        let mut shipment = Shipment::accepted("o", 10, 5);
        assert!(!shipment.deliver(9));
        assert!(shipment.deliver(10) && !shipment.deliver(11));
        let statuses: Vec<_> = shipment.events().into_iter().map(|e| (e.status, e.sequence)).collect();
        assert_eq!(statuses, [(DeliveryStatus::Accepted, 1), (DeliveryStatus::Delivered, 2)]);
        assert_eq!(shipment.cancel(12).unwrap_err().kind, comms_core::ErrorKind::Invalid);
    }

    #[test]
    fn a_withdrawn_shipment_is_never_delivered() {
        let mut shipment = Shipment::accepted("o", 10, 5);
        assert!(shipment.cancel(6).unwrap() && !shipment.cancel(7).unwrap());
        assert!(!shipment.deliver(10));
        assert_eq!((shipment.status, shipment.sequence), (DeliveryStatus::Refused, 2));
        assert_eq!(shipment.events(), [shipment.event()]);
        let mut never = Shipment::never_requested("o", 1);
        assert!(!never.deliver(10) && !never.cancel(10).unwrap());
        assert_eq!((never.sequence, never.reason.as_deref()), (1, Some("cancelled")));
    }
}
