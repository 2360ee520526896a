//! Money: minor units and a currency, never a float.

use comms_core::Error;
use serde::{Deserialize, Serialize};

/// An amount in minor units of an ISO 4217 currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units: kopecks, cents.
    pub minor: i64,
    /// Three upper-case letters.
    pub currency: String,
}

impl Money {
    /// `quantity` times this.
    ///
    /// # Errors
    /// `Invalid` where the product is beyond what an amount can hold.
    pub fn times(&self, quantity: u32) -> Result<Self, Error> {
        let minor = self.minor.checked_mul(i64::from(quantity));
        let minor = minor.ok_or_else(|| Error::invalid("the total is beyond what an amount can hold"))?;
        Ok(Self { minor, currency: self.currency.clone() })
    }

    /// Whether `code` has the form of an ISO 4217 code.
    #[must_use]
    pub fn is_currency(code: &str) -> bool {
        code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())
    }
}
