//! The identity of a request.

use std::sync::Arc;

use super::{KEY_LIMIT, is_key};
use crate::Error;

/// The identity of a request: scoped by principal and operation, or one user gets another's answer.
///
/// ```
/// use comms_core::idempotency::CallKey;
/// let of = |who: &str| CallKey::with_fingerprint(who, "place-order", "k-1", [7; 32]);
/// assert_ne!(of("ann")?, of("bob")?);
/// assert!(CallKey::with_fingerprint("ann", "place-order", "", [7; 32]).is_err());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey {
    /// Principal and operation.
    pub scope: Arc<str>,
    /// What the caller chose.
    pub key: Arc<str>,
    /// A digest of the request, SHA-256 by [`CallKey::new`]: the same key with another request is a mistake.
    pub fingerprint: [u8; 32],
}

impl CallKey {
    /// The key of `request` (its canonical bytes), asked by `principal` of `operation`.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, over [`KEY_LIMIT`] bytes, or has bytes outside printable ASCII.
    #[cfg(feature = "fingerprint")]
    pub fn new(principal: &str, operation: &str, key: &str, request: &[u8]) -> Result<Self, Error> {
        use sha2::{Digest, Sha256};
        Self::with_fingerprint(principal, operation, key, Sha256::digest(request).into())
    }

    /// As `CallKey::new` (feature `fingerprint`), of a request digested elsewhere. The digest must be
    /// collision resistant, or a caller can have another request answered under its key.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, over [`KEY_LIMIT`] bytes, or has bytes outside printable ASCII.
    pub fn with_fingerprint(
        principal: &str,
        operation: &str,
        key: &str,
        fingerprint: [u8; 32],
    ) -> Result<Self, Error> {
        if !is_key(key) {
            return Err(Error::invalid(format!(
                "an idempotency key is 1 to {KEY_LIMIT} printable ASCII characters"
            )));
        }
        // The length keeps ("a", "b/c") and ("a/b", "c") apart.
        let scope = format!("{}:{principal}/{operation}", principal.len()).into();
        Ok(Self { scope, key: key.into(), fingerprint })
    }
}
