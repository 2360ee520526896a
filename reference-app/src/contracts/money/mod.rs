//! Amounts of money.

mod currencies;

use comms_core::Error;
use serde::{Deserialize, Serialize};

/// An amount in minor units of an ISO 4217 currency. There are no floats, so there is no rounding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The number of minor units, such as kopecks or cents.
    pub minor: i64,
    /// The currency code: three upper-case letters.
    pub currency: String,
}

impl Money {
    /// Returns `quantity` times this amount.
    ///
    /// # Errors
    /// Returns `Invalid` if the product does not fit into an `i64`.
    pub fn times(&self, quantity: u32) -> Result<Self, Error> {
        let minor = self.minor.checked_mul(i64::from(quantity));
        let minor = minor.ok_or_else(|| Error::invalid("the total is larger than the largest amount"))?;
        Ok(Self { minor, currency: self.currency.clone() })
    }

    /// Returns whether `code` is an active currency code of ISO 4217, in upper case. Use it to check requests of
    /// clients. A consumer takes the currency of an event as it was published.
    #[must_use]
    pub fn is_currency(code: &str) -> bool {
        currencies::ACTIVE.binary_search(&code).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_an_active_code_of_iso_4217() {
        for code in ["RUB", "EUR", "USD", "AED", "ZWG", "XCG", "XAF"] {
            assert!(Money::is_currency(code), "{code}");
        }
        for code in ["AAA", "rub", "", "RU", "RUBL", "DEM", "HRK", "XTS", "XXX", "XAU", "BGN"] {
            assert!(!Money::is_currency(code), "{code}");
        }
        assert!(currencies::ACTIVE.is_sorted(), "a binary search needs sorted codes");
        assert!(currencies::ACTIVE.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
