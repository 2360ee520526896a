//! JWT verification (RFC 7519) by the best current practices of RFC 8725.
//!
//! The header of a token names the algorithm and the key for its verification, and an attacker may have written it.
//! This module therefore takes both from the configuration.
//!
//! **Guarantees.** The algorithm is fixed for each [`Verifier`] and never read from the token, so neither `none` nor a
//! public key used as an HMAC secret is accepted. Keys come from the [`KeySource`] alone: `jwk`, `jku`, `x5u` and `x5c`
//! in a token are ignored. A token with `crit`, with the `typ` of another kind of token, or with a nested token is
//! refused. `exp`, `iss`, `aud` and `sub` are required. `sub` has 1 to 256 bytes without control characters, so that it
//! fits into keys, rows and topics. The time comes from the injected clock.
//!
//! **`kid`** is untrusted text. A key source receives at most 256 bytes without control characters, and should only
//! compare them with its keys. A token without `kid` gets the key that the source chooses: [`KeySet`] returns one only
//! if it has exactly one key.
//!
//! **`typ`** may be absent or `JWT`. For access tokens of RFC 9068, set [`Verifier::with_type`] to `at+jwt`; all other
//! types are then refused. A token of one kind is thus never accepted as another kind.
//!
//! **Limitations.** A single token cannot be revoked: it is valid until its `exp`, and removing a key revokes all
//! tokens that were signed with it. A token can be used more than once.
//!
//! **Several issuers.** Create one [`Verifier`] with its own keys for each issuer, and try them in turn. A token of one
//! issuer that is signed with a key of another is refused by all of them.
//!
//! **Crypto backend.** The application enables exactly one backend of jsonwebtoken, `aws_lc_rs` or `rust_crypto`, or
//! installs a `CryptoProvider`. Without a backend the first verification panics.
//!
//! ```
//! use comms_core::{clock::Clock, jwt::{Algorithm, JwtError, KeySet, Verifier}};
//! # fn main() -> Result<(), comms_core::Error> {
//! let clock = Clock::system();
//! let keys = KeySet::new(Algorithm::ES256, clock.clone());
//! keys.replace(br#"{"keys": [{"kid": "2026-11", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
//!     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
//!     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#)?;
//!
//! let verifier = Verifier::new(Algorithm::ES256, "https://id.example", "api", keys.clone(), clock);
//! assert_eq!(verifier.verify("nonsense"), Err(JwtError::Malformed));
//! # Ok(())
//! # }
//! ```

mod claims;
mod jwk;
mod key_set;
mod verifier;

pub use claims::Claims;
pub use jsonwebtoken::{Algorithm, DecodingKey};
pub use jwk::check_key;
pub use key_set::KeySet;
use std::sync::Arc;
pub use verifier::Verifier;

/// Why a [`Verifier`] refused a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The token is not a JWT with the required claims, or has another algorithm, type, audience or issuer than the
    /// verifier.
    #[error("the token is malformed, or not for this audience, issuer, type or algorithm")]
    Malformed,
    /// The key source does not have the token's key.
    #[error("the key of the token is unknown")]
    UnknownKey,
    /// The signature does not verify under the token's key.
    #[error("the token's signature does not verify")]
    Signature,
    /// The claim `sub` is empty, over 256 bytes, or contains control characters.
    #[error("the token's subject must be 1 to 256 bytes without control characters")]
    Subject,
    /// The time `exp`, with the clock skew added, has passed.
    #[error("the token has expired")]
    Expired,
    /// The time `nbf`, with the clock skew subtracted, is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// A source of verification keys.
///
/// [`Verifier`] looks up the key at each verification, so keys can rotate. Implementations: [`KeySet`], and a single
/// key in an `Arc`, which ignores the `kid`.
pub trait KeySource: Send + Sync + 'static {
    /// Returns the key with the id `kid`. For a token without `kid`, returns the only key, if there is exactly one.
    ///
    /// `kid` is untrusted text of at most 256 bytes. Compare it, and never build a path or a query from it.
    fn key(&self, kid: Option<&str>) -> Option<Arc<DecodingKey>>;
}

impl KeySource for Arc<DecodingKey> {
    fn key(&self, _: Option<&str>) -> Option<Arc<DecodingKey>> {
        Some(self.clone())
    }
}

#[cfg(test)]
mod tests;
