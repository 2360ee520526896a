//! The commands of an order.

use std::fmt;

use comms_core::Error;

use crate::contracts::Money;

/// The largest quantity of an order.
const MAX_QUANTITY: u32 = 1_000;
/// The longest ad id, in bytes.
const MAX_AD_ID: usize = 100;

/// Changes of an order, in their order, requested at the time `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) changes: Vec<Change>,
    /// Milliseconds since the Unix epoch.
    pub(super) at: i64,
}

/// A change of an order. A change that has happened already causes no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Place(Placement),
    /// payment-service has created the payment. Possible in each status: the answer may come late.
    StartPayment {
        payment_id: String,
    },
    Pay,
    FailPayment {
        reason: Option<String>,
    },
    Reserve,
    Ship,
    Deliver,
    Cancel {
        reason: String,
    },
    /// The buyer of a cancelled order got the money back.
    Refund,
}

/// The content of a new order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) order_id: String,
    pub(super) buyer_id: String,
    pub(super) ad_id: String,
    pub(super) quantity: u32,
    pub(super) unit_price: Money,
    /// Whether other services react to the events of the order, instead of commands of its saga.
    pub(super) choreographed: bool,
}

impl fmt::Display for Change {
    /// Writes the end of the sentence "the order cannot …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Place(_) => "be placed",
            Self::StartPayment { .. } => "get a payment",
            Self::Pay => "become paid",
            Self::FailPayment { .. } => "fail to be paid",
            Self::Reserve => "be reserved",
            Self::Ship => "be shipped",
            Self::Deliver => "be delivered",
            Self::Cancel { .. } => "be cancelled",
            Self::Refund => "be refunded",
        })
    }
}

impl Placement {
    /// Checks the fields. The gateway has checked the same rules field by field; this check is for other callers.
    ///
    /// # Errors
    /// Returns `Invalid` if the buyer or the ad is empty, the ad's id is longer than 100 bytes, the quantity is not
    /// from 1 to 1,000, the price is not positive, the currency is not an active code of ISO 4217, or the total
    /// overflows.
    pub(super) fn validate(&self) -> Result<(), Error> {
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
        self.unit_price.times(self.quantity).map(drop)
    }
}
