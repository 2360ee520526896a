//! An ad and its rules.

use comms_core::Error;

use crate::contracts::{
    Money,
    ad::{MAX_DESCRIPTION, MAX_STOCK, MAX_TITLE},
};

/// The longest id of an ad or of an order, in bytes.
const MAX_ID: usize = 100;

/// An ad, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::ad) struct Ad {
    pub(in crate::services::ad) ad_id: String,
    pub(in crate::services::ad) seller_id: String,
    pub(in crate::services::ad) title: String,
    pub(in crate::services::ad) description: String,
    pub(in crate::services::ad) price: Money,
    /// The pieces that the seller has offered.
    pub(in crate::services::ad) stock: u32,
    /// The pieces that no order holds.
    pub(in crate::services::ad) available: u32,
    /// Milliseconds since the Unix epoch.
    pub(in crate::services::ad) created_at: i64,
}

impl Ad {
    /// Checks the fields of a new ad. The gateway has checked the same rules field by field; this check is for other
    /// callers.
    ///
    /// # Errors
    /// Returns `Invalid` if the seller or the title is empty, a text is too long or has control characters, the price is
    /// not positive, the currency is not an active code of ISO 4217, or the stock is above its limit.
    pub(in crate::services::ad) fn validate(&self) -> Result<(), Error> {
        if self.seller_id.is_empty() || self.title.trim().is_empty() {
            return Err(Error::invalid("an ad needs a seller and a title"));
        }
        if self.title.chars().count() > MAX_TITLE || self.description.chars().count() > MAX_DESCRIPTION {
            return Err(Error::invalid(format!(
                "a title has at most {MAX_TITLE} characters, a description {MAX_DESCRIPTION}"
            )));
        }
        let is_control = |c: char| c.is_control() && c != '\n';
        if self.title.contains(char::is_control) || self.description.contains(is_control) {
            return Err(Error::invalid("a title and a description have no control characters"));
        }
        if self.price.minor <= 0 || !Money::is_currency(&self.price.currency) {
            return Err(Error::invalid("the price must be positive, in an ISO 4217 currency"));
        }
        if self.stock > MAX_STOCK {
            return Err(Error::invalid(format!("the stock is at most {MAX_STOCK}")));
        }
        Ok(())
    }
}

/// Checks the id of an ad or of an order.
///
/// # Errors
/// Returns `Invalid` if `id` is empty, longer than 100 bytes, or has a byte outside of visible ASCII.
pub(in crate::services::ad) fn check_id(id: &str) -> Result<(), Error> {
    match (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Error::invalid(format!("an id has 1 to {MAX_ID} visible ASCII characters"))),
    }
}
