//! Signed webhooks by [Standard Webhooks](https://www.standardwebhooks.com) 1.0.0, with symmetric signatures (`v1`).
//!
//! A webhook is an HTTP request to a public endpoint, so the receiver has to authenticate the sender. The [`Signer`] of
//! the sender and the [`Verifier`] of the receiver share a [`Secret`] for each endpoint. The signature covers the id,
//! the timestamp and the body: `webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body>`.
//!
//! **Guarantees.** A request that verifies was signed under one of the verifier's secrets, with the same id, timestamp
//! and bytes of the body, and its timestamp is within the tolerance of the receiver's clock. The comparison takes the
//! same time whichever signature matches. Malformed headers and bodies over the limit are refused before a signature is
//! computed.
//!
//! **Limitations.** A request can arrive more than once: an observer can replay it within the tolerance, and senders
//! retry. Claim [`Verified::id`] in an inbox, as [`Verified`] describes. The content is not encrypted: use TLS.
//!
//! **Verify the bytes of the body as they were received.** A body that was parsed and serialized again does not verify.
//!
//! **Rotation.** The sender signs with all of its secrets, and the receiver accepts a signature under any of its
//! secrets. Add the new secret on one side, then on the other, and then remove the old secret in the same order.
//!
//! ```
//! use comms_core::{clock::Clock, http::HeaderMap, webhooks::{Delivery, Secret, Signer, Verifier}};
//! # fn main() -> Result<(), comms_core::Error> {
//! let (secret, clock) = (Secret::generate()?, Clock::system());
//!
//! let delivery = Delivery::new("msg_1", r#"{"type":"order.paid"}"#)?;
//! let mut headers = HeaderMap::new();
//! Signer::new([secret.clone()], clock.clone())?.sign(&delivery).inject(&mut headers)?;
//!
//! let verifier = Verifier::new([secret], clock)?;
//! assert_eq!(&*verifier.verify(&headers, delivery.body())?.id, "msg_1");
//! assert!(verifier.verify(&headers, b"something else").is_err());
//! # Ok(())
//! # }
//! ```

mod error;
mod secret;
mod signer;
mod verifier;

use crate::Error;
pub use error::WebhookError;
pub use secret::Secret;
pub use signer::{Attempt, Delivery, Signer};
pub use verifier::{Verified, Verifier};

/// The maximum length of an id, in bytes. An id is visible ASCII without a full stop: with one, a part of the id could
/// be passed off as the timestamp.
pub const ID_LIMIT: usize = 255;
/// The maximum size of a body that can be signed, and the default maximum of a [`Verifier`], in bytes: 1 MiB. The
/// specification recommends less than 20 kB.
pub const BODY_LIMIT: usize = 1 << 20;
/// The maximum number of secrets of a signer or a verifier. One is usual, and two during a rotation.
pub const SECRETS_LIMIT: usize = 8;

/// Returns whether `id` is 1 to [`ID_LIMIT`] bytes of visible ASCII without a full stop.
fn is_id(id: &[u8]) -> bool {
    (1..=ID_LIMIT).contains(&id.len()) && id.iter().all(|b| b.is_ascii_graphic() && *b != b'.')
}

/// Collects 1 to [`SECRETS_LIMIT`] secrets.
///
/// # Errors
/// Returns `Invalid` for none and for more.
fn collect_secrets(secrets: impl IntoIterator<Item = Secret>) -> Result<Vec<Secret>, Error> {
    let secrets: Vec<Secret> = secrets.into_iter().take(SECRETS_LIMIT + 1).collect();
    if !(1..=SECRETS_LIMIT).contains(&secrets.len()) {
        return Err(Error::invalid(format!(
            "a webhook signer or verifier needs 1 to {SECRETS_LIMIT} secrets"
        )));
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests;
