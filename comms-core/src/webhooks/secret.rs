//! What both sides know and nobody else.

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
/// The specification's bounds, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// As long as the output of the hash.
const GENERATED: usize = 32;

/// Secrets are typed and pasted by people: with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An HMAC-SHA256, which compares in constant time.
pub(super) type Tag = CtOutput<Hmac<Sha256>>;

/// The secret of one endpoint: 24 to 64 bytes, in text `whsec_` and their base64. `Debug` does not show it, it
/// cannot be compared, and its memory is wiped when it is dropped.
///
/// ```
/// use comms_core::webhooks::Secret;
/// # fn main() -> Result<(), comms_core::Error> {
/// let ours = Secret::generate()?;
/// let theirs: Secret = ours.expose().parse()?; // shown to the receiver once
/// assert_eq!(format!("{theirs:?}"), "Secret(whsec_…)");
/// assert!("whsec_dG9vIHNob3J0".parse::<Secret>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Secret {
    key: Zeroizing<Vec<u8>>,
    /// Keyed once, cloned for each message.
    mac: Hmac<Sha256>,
}

impl Secret {
    /// A new secret: 32 bytes of the operating system's randomness.
    ///
    /// # Errors
    /// `NotExecuted` where the system has no randomness to give.
    pub fn generate() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; GENERATED]);
        getrandom::fill(&mut *key)
            .map_err(|e| Error::not_executed(e.to_string()).context("webhook secret"))?;
        Self::from_bytes(&*key)
    }

    /// The secret that these bytes are.
    ///
    /// # Errors
    /// `Invalid` for less than 24 or more than 64 bytes.
    pub fn from_bytes(key: &[u8]) -> Result<Self, Error> {
        if !LENGTH.contains(&key.len()) {
            let (least, most) = (LENGTH.start(), LENGTH.end());
            return Err(Error::invalid(format!("a webhook secret has {least} to {most} bytes")));
        }
        let mac = Hmac::new_from_slice(key).map_err(Error::invalid)?;
        Ok(Self { key: Zeroizing::new(key.to_vec()), mac })
    }

    /// The secret in text, `whsec_…`: for the one who configures the other side. It is not wiped from memory.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", general_purpose::STANDARD.encode(&*self.key))
    }

    /// The signature of a webhook.
    pub(super) fn tag(&self, id: &[u8], timestamp: &[u8], body: &[u8]) -> Tag {
        let mac = self.mac.clone();
        [id, b".", timestamp, b".", body].into_iter().fold(mac, Mac::chain_update).finalize()
    }
}

/// From its text; `whsec_` may be left out, as may the padding.
impl FromStr for Secret {
    type Err = Error;

    /// # Errors
    /// `Invalid` where it is not base64 of 24 to 64 bytes. The error does not repeat the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        // 64 bytes are 88 characters: what is longer is refused before it is copied.
        if encoded.len() > 88 {
            return Err(Error::invalid("a webhook secret has at most 64 bytes"));
        }
        let key = LENIENT
            .decode(encoded)
            .map_err(|_| Error::invalid("a webhook secret is whsec_ and base64 (standard alphabet)"))?;
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
    fn the_keyed_state_and_its_hash_are_wiped_when_dropped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Zeroizing<Vec<u8>>>();
        // The state that the key was hashed into, the buffer of the message, and the tag.
        wiped::<sha2::block_api::Sha256VarCore>();
        wiped::<hmac::digest::block_buffer::EagerBuffer<hmac::digest::typenum::U64>>();
        wiped::<Tag>();
    }
}
