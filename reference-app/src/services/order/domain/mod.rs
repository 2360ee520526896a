//! An order and the transitions of its status. This module does no I/O.

use comms_core::Error;

use crate::contracts::{Money, OrderStatus, PaymentStatus};

/// The largest quantity of an order.
pub(super) const MAX_QUANTITY: u32 = 1_000;
/// The longest ad id, in bytes.
const MAX_AD_ID: usize = 100;

/// An order, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) order_id: String,
    pub(super) buyer_id: String,
    pub(super) ad_id: String,
    pub(super) quantity: u32,
    pub(super) unit_price: Money,
    pub(super) status: OrderStatus,
    /// The number of this change of status, from 1.
    pub(super) sequence: i64,
    pub(super) payment_id: Option<String>,
    pub(super) reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

impl Order {
    /// Checks the fields and returns the total. The gateway has checked the same rules field by field; this check is
    /// for other callers.
    ///
    /// # Errors
    /// Returns `Invalid` if the buyer or the ad is empty, the ad's id is longer than 100 bytes, the quantity is not
    /// from 1 to 1,000, the price is not positive, the currency is not an active code of ISO 4217, or the total
    /// overflows.
    pub(super) fn validate(&self) -> Result<Money, Error> {
        if self.buyer_id.is_empty() || self.ad_id.is_empty() || self.ad_id.len() > MAX_AD_ID {
            return Err(Error::invalid(format!(
                "an order needs a buyer and an ad, whose id has at most {MAX_AD_ID} bytes"
            )));
        }
        if self.quantity == 0 || self.quantity > MAX_QUANTITY {
            return Err(Error::invalid(format!("the quantity must be from 1 to {MAX_QUANTITY}")));
        }
        if self.unit_price.minor <= 0 || !Money::is_currency(&self.unit_price.currency) {
            return Err(Error::invalid("the price must be positive, in an ISO 4217 currency"));
        }
        self.total()
    }

    /// Returns the price of all pieces.
    ///
    /// # Errors
    /// Returns `Invalid` if the total overflows.
    pub(super) fn total(&self) -> Result<Money, Error> {
        self.unit_price.times(self.quantity)
    }

    /// Moves a created order to the status that follows from its payment. Returns `false` if the order stays as it is:
    /// the payment is pending, or the order has left `Created` before.
    pub(super) fn apply_payment(&mut self, payment: PaymentStatus, reason: Option<String>, now: i64) -> bool {
        let next = match (self.status, payment) {
            (OrderStatus::Created, PaymentStatus::Succeeded) => OrderStatus::Paid,
            (OrderStatus::Created, PaymentStatus::Declined) => OrderStatus::PaymentFailed,
            _ => return false,
        };
        self.status = next;
        self.sequence += 1;
        self.reason = reason;
        self.updated_at = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            order_id: "o".into(),
            buyer_id: "ann".into(),
            ad_id: "bike".into(),
            quantity: 2,
            unit_price: Money { minor: 50, currency: "RUB".into() },
            status: OrderStatus::Created,
            sequence: 1,
            payment_id: None,
            reason: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    #[test]
    fn a_payment_changes_the_status_of_an_order_once() {
        let mut paid = order();
        assert!(!paid.apply_payment(PaymentStatus::Pending, None, 1));
        assert!(paid.apply_payment(PaymentStatus::Succeeded, None, 2));
        assert_eq!((paid.status, paid.sequence), (OrderStatus::Paid, 2));
        assert!(!paid.apply_payment(PaymentStatus::Succeeded, None, 3));
        assert!(!paid.apply_payment(PaymentStatus::Declined, None, 3));
        assert_eq!((paid.status, paid.sequence, paid.updated_at), (OrderStatus::Paid, 2, 2));
    }

    #[test]
    fn an_invalid_order_is_refused() {
        assert_eq!(order().validate().unwrap().minor, 100);
        let wrong: [fn(&mut Order); 6] = [
            |o| o.quantity = 0,
            |o| o.quantity = MAX_QUANTITY + 1,
            |o| o.unit_price.minor = -1,
            |o| o.unit_price.minor = i64::MAX,
            |o| o.unit_price.currency = "rub".into(),
            |o| o.ad_id = String::new(),
        ];
        for change in wrong {
            let mut order = order();
            change(&mut order);
            assert!(order.validate().is_err(), "{order:?}");
        }
    }
}
