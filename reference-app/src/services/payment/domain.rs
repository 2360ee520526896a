//! A payment, and the rules that settle and cancel it. This module does no I/O.

use std::time::Duration;

use comms_core::{Error, clock::rfc3339};

use crate::contracts::{Money, PaymentStatus};

/// A payment, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payment {
    pub(super) payment_id: String,
    pub(super) order_id: String,
    pub(super) buyer_id: String,
    pub(super) amount: Money,
    pub(super) status: PaymentStatus,
    /// The number of this change of status, from 1.
    pub(super) sequence: i64,
    pub(super) reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

impl Payment {
    /// Creates a pending payment.
    ///
    /// # Errors
    /// Returns `Invalid` if the amount is not positive.
    pub(super) fn new(
        payment_id: String,
        order_id: String,
        buyer_id: String,
        amount: Money,
        now: i64,
    ) -> Result<Self, Error> {
        if amount.minor <= 0 {
            return Err(Error::invalid("the amount must be positive"));
        }
        let (status, sequence, reason) = (PaymentStatus::Pending, 1, None);
        Ok(Self {
            payment_id,
            order_id,
            buyer_id,
            amount,
            status,
            sequence,
            reason,
            created_at: now,
            updated_at: now,
        })
    }

    /// Returns when the payment entered its status (RFC 3339).
    pub(super) fn changed_at(&self) -> String {
        rfc3339(Duration::from_millis(u64::try_from(self.updated_at).unwrap_or_default()))
    }

    /// Returns each status that the payment has entered, as the payment was then. `charged_at` is the time of its charge, if
    /// it was charged.
    ///
    /// The current status and its number determine the earlier ones: a payment begins PENDING, except one that was cancelled
    /// before it was requested, and is REFUNDED only from SUCCEEDED.
    pub(super) fn history(&self, charged_at: Option<i64>) -> Vec<Self> {
        let earlier = [
            (PaymentStatus::Pending, 1, self.created_at),
            (PaymentStatus::Succeeded, 2, charged_at.unwrap_or(self.updated_at)),
        ];
        let earlier = earlier.into_iter().filter(|(_, sequence, _)| *sequence < self.sequence);
        let earlier = earlier.map(|(status, sequence, updated_at)| Self {
            status,
            sequence,
            updated_at,
            reason: None,
            ..self.clone()
        });
        earlier.chain([self.clone()]).collect()
    }

    /// Checks the currency of a payment that is requested for the first time. A payment that is stored is settled and
    /// refunded in its currency, also after the code was withdrawn from the standard.
    ///
    /// # Errors
    /// Returns `Invalid` if the currency is not an active code of ISO 4217.
    pub(super) fn check_currency(&self) -> Result<(), Error> {
        match Money::is_currency(&self.amount.currency) {
            true => Ok(()),
            false => Err(Error::invalid("the currency must be an active code of ISO 4217")),
        }
    }

    /// Cancels a pending payment, and refunds one that has succeeded. Returns `false` if the payment stays as it is,
    /// because it was declined, cancelled or refunded before.
    pub(super) fn cancel(&mut self, now: i64) -> bool {
        self.status = match self.status {
            PaymentStatus::Pending => PaymentStatus::Cancelled,
            PaymentStatus::Succeeded => PaymentStatus::Refunded,
            PaymentStatus::Declined | PaymentStatus::Cancelled | PaymentStatus::Refunded => return false,
        };
        self.sequence += 1;
        self.updated_at = now;
        true
    }

    /// Settles a pending payment: it succeeds, or is declined if the amount is above the limit. Returns `false` if the
    /// payment was settled or cancelled before.
    pub(super) fn settle(&mut self, limit_minor: i64, now: i64) -> bool {
        if self.status != PaymentStatus::Pending {
            return false;
        }
        if self.amount.minor > limit_minor {
            self.status = PaymentStatus::Declined;
            self.reason = Some("limit_exceeded".to_owned());
        } else {
            self.status = PaymentStatus::Succeeded;
        }
        self.sequence += 1;
        self.updated_at = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(minor: i64) -> Payment {
        let amount = Money { minor, currency: "RUB".into() };
        Payment::new("p".into(), "o".into(), "ann".into(), amount, 0).unwrap()
    }

    #[test]
    fn a_cancelled_payment_is_not_settled_and_a_settled_one_is_refunded_once() {
        let mut pending = payment(100);
        assert!(pending.cancel(1));
        assert_eq!((pending.status, pending.sequence), (PaymentStatus::Cancelled, 2));
        assert!(!pending.settle(100, 2) && !pending.cancel(2));
        assert_eq!((pending.status, pending.sequence, pending.updated_at), (PaymentStatus::Cancelled, 2, 1));

        let mut paid = payment(100);
        assert!(paid.settle(100, 1) && paid.cancel(2));
        assert_eq!((paid.status, paid.sequence), (PaymentStatus::Refunded, 3));
        assert!(!paid.cancel(3) && !paid.settle(100, 3));

        let mut declined = payment(101);
        assert!(declined.settle(100, 1) && !declined.cancel(2));
        assert_eq!((declined.status, declined.sequence), (PaymentStatus::Declined, 2));
    }

    #[test]
    fn a_payment_is_settled_once_and_declined_above_the_limit() {
        let mut fits = payment(100);
        assert!(fits.settle(100, 1));
        assert_eq!((fits.status, fits.sequence), (PaymentStatus::Succeeded, 2));
        assert!(!fits.settle(0, 2));
        assert_eq!((fits.status, fits.sequence, fits.updated_at), (PaymentStatus::Succeeded, 2, 1));

        let mut above = payment(101);
        assert!(above.settle(100, 1));
        assert_eq!(above.reason.as_deref(), Some("limit_exceeded"));
        assert_eq!(above.status, PaymentStatus::Declined);
    }
}
