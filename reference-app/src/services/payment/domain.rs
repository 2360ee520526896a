//! A payment and the rule that settles it. This module does no I/O.

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
    /// Settles a pending payment: it succeeds, or is declined if the amount is above the limit. Returns `false` if the
    /// payment was settled before.
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
        Payment {
            payment_id: "p".into(),
            order_id: "o".into(),
            buyer_id: "ann".into(),
            amount: Money { minor, currency: "RUB".into() },
            status: PaymentStatus::Pending,
            sequence: 1,
            reason: None,
            created_at: 0,
            updated_at: 0,
        }
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
