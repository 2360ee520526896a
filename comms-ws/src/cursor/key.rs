//! The key that signs cursors and tickets.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use comms_core::Error;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The minimum length of a key in bytes.
const MIN_LEN: usize = 32;
/// The length of a signature in bytes: 96 bits of an HMAC-SHA256 (RFC 2104, section 5).
const MAC_LEN: usize = 12;

/// A secret that signs cursors and tickets. All nodes of a system have the same keys.
#[derive(Clone)]
pub struct CursorKey(Hmac<Sha256>);

impl CursorKey {
    /// Creates a key from random bytes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `secret` is shorter than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, Error> {
        if secret.len() < MIN_LEN {
            return Err(Error::invalid(format!(
                "cursor key: {} bytes are too few, {MIN_LEN} are the minimum",
                secret.len()
            )));
        }
        Hmac::new_from_slice(secret).map(Self).map_err(Error::invalid)
    }

    /// Creates a key from the random source of the operating system, for a system of one node.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if the system has no random source.
    pub fn random() -> Result<Self, Error> {
        let mut secret = [0; MIN_LEN];
        getrandom::fill(&mut secret).map_err(Error::fatal)?;
        Self::new(&secret)
    }

    pub(crate) fn sign(&self, text: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(text);
        BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..MAC_LEN])
    }

    pub(crate) fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        let mut mac = self.0.clone();
        mac.update(text);
        signature.len() == MAC_LEN && mac.verify_truncated_left(&signature).is_ok()
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey")
    }
}
