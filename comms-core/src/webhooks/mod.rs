//! Webhooks that can be believed: [Standard Webhooks](https://www.standardwebhooks.com) 1.0.0, symmetric (`v1`).
//!
//! A webhook is an HTTP request that anybody can make. The [`Signer`] of one side and the [`Verifier`] of the
//! other share a [`Secret`], one for each endpoint, and prove with it who sent the request and when:
//! `webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body>`.
//!
//! **Promised.** What verifies was signed under one of the verifier's secrets, with this id, this timestamp and
//! exactly these bytes of a body, within the tolerance of the clock. Comparing takes the same time whichever
//! signature fits. Bad headers and large bodies are refused before anything is computed.
//!
//! **Not promised.** That it comes once: within the tolerance a request can be sent again by whoever saw it, and
//! senders retry. [`Verified::id`] is to be claimed in an inbox, see there. Nor that it is secret: use TLS.
//!
//! **Breaks it.** A body that was parsed and written anew before it was verified: verify the bytes as they came.
//!
//! **Rotation.** The sender signs with all of its current secrets, the receiver accepts any of its own: add the
//! new secret on one side, then on the other, then remove the old one in the same order.
//!
//! ```
//! use comms_core::{clock::Clock, http::HeaderMap, webhooks::{Delivery, Secret, Signer, Verifier}};
//! # fn main() -> Result<(), comms_core::Error> {
//! let (secret, clock) = (Secret::generate()?, Clock::system());
//!
//! let delivery = Delivery::new("msg_1", r#"{"type":"order.paid"}"#)?;
//! let mut headers = HeaderMap::new();
//! Signer::new([secret.clone()], clock.clone())?.attempt(&delivery).inject(&mut headers)?;
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

/// The longest id, in bytes. An id is visible ASCII without a full stop, which would let a part of the id be
/// taken for a timestamp.
pub const ID_LIMIT: usize = 255;
/// The largest body that is signed, and that is verified by default, in bytes. The specification recommends
/// less than 20 kB.
pub const BODY_LIMIT: usize = 1 << 20;
/// How many secrets a signer or a verifier may have. One is usual, two while they rotate.
pub const SECRETS_LIMIT: usize = 8;

fn is_id(id: &[u8]) -> bool {
    (1..=ID_LIMIT).contains(&id.len()) && id.iter().all(|b| b.is_ascii_graphic() && *b != b'.')
}

fn secrets(given: impl IntoIterator<Item = Secret>) -> Result<Vec<Secret>, Error> {
    let secrets: Vec<Secret> = given.into_iter().take(SECRETS_LIMIT + 1).collect();
    if !(1..=SECRETS_LIMIT).contains(&secrets.len()) {
        return Err(Error::invalid(format!("webhooks need 1 to {SECRETS_LIMIT} secrets")));
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests;
