//! JWT verification (RFC 7519) by the best current practices (RFC 8725).
//!
//! The problem: a token says of itself how it is to be verified, and who wrote it may be an attacker.
//!
//! **Promised.** The algorithm is pinned per [`Verifier`] and never read from the token, so neither `none` nor a
//! public key used as an HMAC secret can pass. Keys come from the [`KeySource`] alone: `jwk`, `jku`, `x5u` and
//! `x5c` in a token are ignored. A token with `crit`, with the `typ` of another kind of token, or with another
//! token inside is refused. `exp`, `iss`, `aud` and `sub` are required. `sub` is 1 to 256 bytes without control characters,
//! so that it fits into keys, rows and topics. Time comes from the injected clock.
//!
//! **`kid`** is the sender's text: at most 256 bytes without control characters reach a key source, which may look
//! it up and nothing else. Without `kid` the source decides: [`KeySet`] has an answer only if it has one key.
//!
//! **`typ`** may be absent or `JWT`; access tokens of RFC 9068 need [`Verifier::with_type`] `at+jwt`, and others
//! are then refused. So a token of one kind is never taken for one of another kind.
//!
//! **Not promised.** Revocation: a token is good until its `exp`, a removed key ends all of its tokens. Nor that a
//! token comes once.
//!
//! **Several issuers**: one [`Verifier`] each, with its own keys, tried in turn. A token of one issuer under the
//! key of another passes none of them.
//!
//! No crypto backend is chosen here: the application enables exactly one of jsonwebtoken's, `aws_lc_rs` or
//! `rust_crypto`, or installs a `CryptoProvider`. Without one the first verification panics with that message.
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

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Not a JWT of the pinned algorithm and type with the required claims, or for another audience or issuer.
    #[error("the token is malformed, or not for this audience, issuer, type or algorithm")]
    Malformed,
    /// The key source does not have its key: never did, not yet, or not any more.
    #[error("the token names no key that is known")]
    UnknownKey,
    /// The signature does not fit the key.
    #[error("the token's signature does not verify")]
    Signature,
    /// The subject is empty, longer than 256 bytes, or has control characters.
    #[error("the token's subject must be 1 to 256 bytes without control characters")]
    Subject,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Immature,
}

/// Where keys come from, so that they can rotate: asked at each verification. [`KeySet`] is one; a single key in
/// an `Arc` is another, whatever the `kid`.
pub trait KeySource: Send + Sync + 'static {
    /// The key of this `kid`; of a token without one, the only key, if there is only one. `kid` is hostile text
    /// of at most 256 bytes: compare it, never build a path or a query of it.
    fn key(&self, kid: Option<&str>) -> Option<Arc<DecodingKey>>;
}

impl KeySource for Arc<DecodingKey> {
    fn key(&self, _: Option<&str>) -> Option<Arc<DecodingKey>> {
        Some(self.clone())
    }
}

#[cfg(test)]
mod tests;
