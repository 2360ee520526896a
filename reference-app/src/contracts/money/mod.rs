//! Money: minor units and a currency, never a float.

mod currencies;

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

    /// Whether `code` is an active currency code of ISO 4217, in upper case. For what a client sends: an event that is read
    /// keeps the code that its writer sent.
    #[must_use]
    pub fn is_currency(code: &str) -> bool {
        currencies::ACTIVE.binary_search(&code).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_an_active_code_of_the_standard() {
        for code in ["RUB", "EUR", "USD", "AED", "ZWG", "XCG", "XAF"] {
            assert!(Money::is_currency(code), "{code}");
        }
        for code in ["AAA", "rub", "", "RU", "RUBL", "DEM", "HRK", "XTS", "XXX", "XAU", "BGN"] {
            assert!(!Money::is_currency(code), "{code}");
        }
        assert!(currencies::ACTIVE.is_sorted(), "a binary search needs the order");
        assert!(currencies::ACTIVE.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
