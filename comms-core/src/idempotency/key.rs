//! The identity of a request.

use std::sync::Arc;

use super::{KEY_LIMIT, is_key};
use crate::Error;

/// The identity of an idempotent request: a key in the scope of a principal (the authenticated caller) and an
/// operation.
///
/// Without the scope one user could get another user's reply.
///
/// ```
/// use comms_core::idempotency::CallKey;
/// let key_of = |user: &str| CallKey::with_fingerprint(user, "place-order", "k-1", [7; 32]);
/// assert_ne!(key_of("ann")?, key_of("bob")?);
/// assert!(CallKey::with_fingerprint("ann", "place-order", "", [7; 32]).is_err());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey {
    /// The principal and the operation.
    pub scope: Arc<str>,
    /// The key that the caller chose.
    pub key: Arc<str>,
    /// A digest of the request (SHA-256 if `CallKey::new` made it). A request with the same key and another digest is
    /// refused.
    pub fingerprint: [u8; 32],
}

impl CallKey {
    /// Makes the key of `request`, given as canonical bytes, which `principal` sends to `operation`.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if `key` is empty, longer than [`KEY_LIMIT`] bytes, or has bytes
    /// outside printable ASCII.
    #[cfg(feature = "fingerprint")]
    pub fn new(principal: &str, operation: &str, key: &str, request: &[u8]) -> Result<Self, Error> {
        use sha2::{Digest, Sha256};
        Self::with_fingerprint(principal, operation, key, Sha256::digest(request).into())
    }

    /// Makes the key of a request whose digest is `fingerprint`. Unlike `CallKey::new`, it needs no feature.
    ///
    /// The digest must be collision resistant; otherwise a caller can get the reply of another request under its key.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if `key` is empty, longer than [`KEY_LIMIT`] bytes, or has bytes
    /// outside printable ASCII.
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
