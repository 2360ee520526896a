//! The rules by which events change the figures. This module does no I/O.

use std::collections::BTreeMap;

use comms_core::Error;
use strum::{EnumString, IntoStaticStr};

use crate::{
    contracts::{OrderStatus, OrderStatusChanged},
    platform::rfc3339,
};

/// The seconds of an hour and of a day.
pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;

/// The last known state of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The highest sequence that was applied.
    pub(super) sequence: i64,
    pub(super) status: OrderStatus,
    /// The start of the hour of the first event.
    pub(super) created_hour: i64,
    pub(super) payment: Payment,
}

/// How an order has changed the revenue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Payment {
    /// Not at all.
    None,
    /// The total was added.
    Paid,
    /// The total was added and subtracted. This is final.
    Refunded,
}

/// The changes of the figures that a batch of events causes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// By the start of the hour and the status.
    pub(super) hours: BTreeMap<(i64, &'static str), HourChange>,
    /// By the start of the day and the currency.
    pub(super) revenue: BTreeMap<(i64, String), RevenueChange>,
}

/// The change of the counts of an hour and a status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HourChange {
    /// The orders that were created in the hour and have the status now.
    pub(super) orders: i64,
    /// The orders that entered the status in the hour.
    pub(super) transitions: i64,
}

/// The change of the revenue of a day in a currency.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RevenueChange {
    /// The net amount. The sum of a batch may exceed the range of one amount.
    pub(super) minor: i128,
    pub(super) paid: i64,
    pub(super) refunded: i64,
}

/// Returns the time of `event`, in seconds since 1970.
///
/// # Errors
/// Returns `Invalid` if the time is not a time of RFC 3339.
pub(super) fn changed_at(event: &OrderStatusChanged) -> Result<i64, Error> {
    let time = rfc3339::parse(&event.changed_at).map_err(|error| error.context("changed_at"))?;
    i64::try_from(time.as_secs()).map_err(Error::invalid)
}

impl Changes {
    /// Adds the changes that `event` causes for an order whose last known state is `order`, and returns the next state.
    /// Returns `None`, and adds nothing, for an event that is not newer than the state. Sequences may have gaps.
    ///
    /// # Errors
    /// Returns `Invalid` if the time of the event is not a time of RFC 3339.
    pub(super) fn add(
        &mut self,
        order: Option<&Order>,
        event: &OrderStatusChanged,
    ) -> Result<Option<Order>, Error> {
        if order.is_some_and(|order| event.sequence <= order.sequence) {
            return Ok(None);
        }
        let changed_at = changed_at(event)?;
        let hour = changed_at - changed_at % HOUR;
        let created_hour = order.map_or(hour, |order| order.created_hour);
        if let Some(order) = order {
            self.hour(created_hour, order.status).orders -= 1;
        }
        self.hour(created_hour, event.status).orders += 1;
        self.hour(hour, event.status).transitions += 1;
        let payment = order.map_or(Payment::None, |order| order.payment);
        let payment = self.add_payment(payment, event, changed_at - changed_at % DAY);
        Ok(Some(Order { sequence: event.sequence, status: event.status, created_hour, payment }))
    }

    /// Adds the total of an order to the revenue of `day` when the order is paid, and subtracts it when a paid order is
    /// cancelled, each once.
    fn add_payment(&mut self, payment: Payment, event: &OrderStatusChanged, day: i64) -> Payment {
        let (next, sign) = match (payment, event.status) {
            (Payment::None, OrderStatus::Paid) => (Payment::Paid, 1),
            (Payment::Paid, OrderStatus::Cancelled) => (Payment::Refunded, -1),
            _ => return payment,
        };
        let revenue = self.revenue.entry((day, event.total.currency.clone())).or_default();
        revenue.minor += i128::from(event.total.minor) * sign;
        match next {
            Payment::Refunded => revenue.refunded += 1,
            _ => revenue.paid += 1,
        }
        next
    }

    fn hour(&mut self, hour: i64, status: OrderStatus) -> &mut HourChange {
        self.hours.entry((hour, status.into())).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::Money;

    fn event(sequence: i64, status: OrderStatus, changed_at: &str) -> OrderStatusChanged {
        let (order_id, buyer_id) = ("o-1".to_owned(), "ann".to_owned());
        let total = Money { minor: 250, currency: "RUB".into() };
        serde_json::from_value(serde_json::json!({
            "order_id": order_id, "buyer_id": buyer_id, "status": status, "sequence": sequence, "total": total,
            "reason": null, "changed_at": changed_at,
        }))
        .unwrap()
    }

    /// Adds the events one after the other.
    fn add(events: &[OrderStatusChanged]) -> (Option<Order>, Changes) {
        let (mut order, mut changes) = (None, Changes::default());
        for event in events {
            order = changes.add(order.as_ref(), event).unwrap().or(order);
        }
        (order, changes)
    }

    const CREATED: &str = "1970-01-02T01:59:59.999Z";
    const PAID: &str = "1970-01-02T02:00:00.000Z";
    const CANCELLED: &str = "1970-01-03T00:00:00.000Z";

    #[test]
    fn an_order_counts_in_the_hour_of_its_creation_and_in_the_hours_of_its_transitions() {
        let (order, changes) =
            add(&[event(1, OrderStatus::Created, CREATED), event(2, OrderStatus::Paid, PAID)]);
        let order = order.unwrap();
        assert_eq!((order.sequence, order.status, order.payment), (2, OrderStatus::Paid, Payment::Paid));
        let (first, second) = (DAY + HOUR, DAY + 2 * HOUR);
        let hours = [
            ((first, "CREATED"), HourChange { orders: 0, transitions: 1 }),
            ((first, "PAID"), HourChange { orders: 1, transitions: 0 }),
            ((second, "PAID"), HourChange { orders: 0, transitions: 1 }),
        ];
        assert_eq!(changes.hours, BTreeMap::from(hours));
        let revenue = RevenueChange { minor: 250, paid: 1, refunded: 0 };
        assert_eq!(changes.revenue, BTreeMap::from([((DAY, "RUB".to_owned()), revenue)]));
    }

    #[test]
    fn a_paid_order_that_is_cancelled_is_subtracted_on_the_day_of_the_cancellation_once() {
        let events = [
            event(1, OrderStatus::Created, CREATED),
            event(2, OrderStatus::Paid, PAID),
            event(3, OrderStatus::Cancelled, CANCELLED),
            event(4, OrderStatus::Paid, CANCELLED),
            event(5, OrderStatus::Cancelled, CANCELLED),
        ];
        let (order, changes) = add(&events);
        assert_eq!(order.unwrap().payment, Payment::Refunded);
        let revenue = [
            ((DAY, "RUB".to_owned()), RevenueChange { minor: 250, paid: 1, refunded: 0 }),
            ((2 * DAY, "RUB".to_owned()), RevenueChange { minor: -250, paid: 0, refunded: 1 }),
        ];
        assert_eq!(changes.revenue, BTreeMap::from(revenue));
    }

    #[test]
    fn an_order_that_is_cancelled_before_its_payment_does_not_change_the_revenue() {
        let events = [event(1, OrderStatus::Created, CREATED), event(2, OrderStatus::Cancelled, PAID)];
        let (order, changes) = add(&events);
        assert_eq!(order.unwrap().payment, Payment::None);
        assert_eq!(changes.revenue, BTreeMap::new());
    }

    #[test]
    fn an_older_or_repeated_event_changes_nothing_and_a_gap_is_accepted() {
        let all = [
            event(1, OrderStatus::Created, CREATED),
            event(4, OrderStatus::Paid, PAID),
            event(4, OrderStatus::Paid, PAID),
            event(3, OrderStatus::Created, PAID),
        ];
        assert_eq!(add(&all), add(&all[..2]));
        let (order, changes) = add(&[event(7, OrderStatus::Paid, PAID)]);
        assert_eq!((order.unwrap().created_hour, changes.revenue.len()), (DAY + 2 * HOUR, 1));
    }

    #[test]
    fn an_event_without_a_time_is_invalid() {
        let wrong = event(1, OrderStatus::Created, "yesterday");
        assert_eq!(Changes::default().add(None, &wrong).unwrap_err().kind, comms_core::ErrorKind::Invalid);
    }
}
