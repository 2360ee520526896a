//! The shared signing secret of an endpoint.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use hmac::{Hmac, KeyInit, Mac, digest::CtOutput};
use sha2::Sha256;
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

use crate::Error;

const PREFIX: &str = "whsec_";
/// The length of a secret in bytes, by the specification.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// The length of a generated secret in bytes: that of the hash.
const GENERATED_LENGTH: usize = 32;

/// Base64 with optional padding, because people copy secrets with and without it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An HMAC-SHA256, which compares in constant time.
pub(super) type Tag = CtOutput<Hmac<Sha256>>;

/// The shared signing secret of one endpoint: 24 to 64 bytes.
///
/// The text form is `whsec_` and the bytes in base64. `Debug` does not print the secret, `PartialEq` is not
/// implemented, and the memory is zeroed when the secret is dropped.
///
/// ```
/// use comms_core::webhooks::Secret;
/// # fn main() -> Result<(), comms_core::Error> {
/// let secret = Secret::generate()?;
/// let received: Secret = secret.expose().parse()?; // sent to the receiver once
/// assert_eq!(format!("{received:?}"), "Secret(whsec_…)");
/// assert!("whsec_dG9vIHNob3J0".parse::<Secret>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Secret {
    key: Zeroizing<Vec<u8>>,
    /// The keyed state of the MAC, computed once and cloned for each message.
    mac: Hmac<Sha256>,
}

impl Secret {
    /// Generates a secret of 32 random bytes from the operating system.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](crate::ErrorKind::NotExecuted) if the operating system provides no random
    /// bytes.
    pub fn generate() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; GENERATED_LENGTH]);
        getrandom::fill(&mut *key)
            .map_err(|e| Error::not_executed(e.to_string()).context("generate a webhook secret"))?;
        Self::from_bytes(&*key)
    }

    /// Creates a secret from its bytes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for less than 24 or more than 64 bytes.
    pub fn from_bytes(key: &[u8]) -> Result<Self, Error> {
        if !LENGTH.contains(&key.len()) {
            let (min, max) = (LENGTH.start(), LENGTH.end());
            let length = key.len();
            return Err(Error::invalid(format!(
                "a webhook secret must have {min} to {max} bytes, not {length}"
            )));
        }
        let mac = Hmac::new_from_slice(key).map_err(Error::invalid)?;
        Ok(Self { key: Zeroizing::new(key.to_vec()), mac })
    }

    /// Returns the secret in its text form, `whsec_…`, for the configuration of the other side. The returned text is
    /// not zeroed when dropped.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", general_purpose::STANDARD.encode(&*self.key))
    }

    /// Computes the signature of a webhook.
    pub(super) fn tag(&self, id: &[u8], timestamp: &[u8], body: &[u8]) -> Tag {
        let mac = self.mac.clone();
        [id, b".", timestamp, b".", body].into_iter().fold(mac, Mac::chain_update).finalize()
    }
}

/// Parses the text form. The prefix `whsec_` and the padding are optional.
impl FromStr for Secret {
    type Err = Error;

    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the text is not base64 of 24 to 64 bytes. The error
    /// does not contain the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        // 64 bytes have 88 characters in base64. A longer text is refused before it is copied.
        if encoded.len() > 88 {
            return Err(Error::invalid("a webhook secret must have at most 64 bytes"));
        }
        let key = LENIENT.decode(encoded).map_err(|_| {
            Error::invalid("a webhook secret must be whsec_ and base64 in the standard alphabet")
        })?;
        Self::from_bytes(&Zeroizing::new(key))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(whsec_…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_mac_state_are_zeroed_on_drop() {
        fn assert_zeroized<T: zeroize::ZeroizeOnDrop>() {}
        assert_zeroized::<Zeroizing<Vec<u8>>>();
        // The state into which the key was hashed, the buffer of the message, and the tag.
        assert_zeroized::<sha2::block_api::Sha256VarCore>();
        assert_zeroized::<hmac::digest::block_buffer::EagerBuffer<hmac::digest::typenum::U64>>();
        assert_zeroized::<Tag>();
    }
}
