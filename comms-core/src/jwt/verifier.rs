//! Verification of tokens.

use jsonwebtoken::{Header, Validation, errors::ErrorKind};
use std::{fmt, sync::Arc, time::Duration};

use super::{Algorithm, Claims, JwtError, KeySource};
use crate::{Error, clock::Clock};

/// The maximum length of a token, in bytes.
pub(super) const TOKEN_LIMIT: usize = 8 * 1024;
/// The maximum length of a `kid`, in bytes. A longer one is refused before the key is looked up.
pub(super) const KID_LIMIT: usize = 256;
/// The maximum length of a subject, in bytes: subjects are stored in the keys and indexes of rows.
pub(super) const SUBJECT_LIMIT: usize = 256;
/// The maximum clock skew.
const SKEW_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Verifies tokens of one issuer for one audience under one algorithm. Clones share the keys and the configuration.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<dyn KeySource>,
    rules: Arc<Validation>,
    /// The required `typ`. If `None`, a token has the `typ` `JWT` or no `typ`.
    typ: Option<Arc<str>>,
    skew: Duration,
    clock: Clock,
}

impl Verifier {
    /// Creates a verifier that accepts tokens of `issuer` for `audience`, signed by `algorithm` with a key of `keys`.
    /// The allowed clock skew is 30 s; [`with_skew`](Self::with_skew) changes it.
    pub fn new(
        algorithm: Algorithm,
        issuer: &str,
        audience: &str,
        keys: impl KeySource,
        clock: Clock,
    ) -> Self {
        let mut rules = Validation::new(algorithm);
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // `check_time` uses the injected clock instead.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        let (keys, rules, skew) = (Arc::new(keys), Arc::new(rules), Duration::from_secs(30));
        Self { keys, rules, typ: None, skew, clock }
    }

    /// Sets the allowed clock skew, in whole seconds: a token is accepted until `skew` after its `exp`, and from `skew`
    /// before its `nbf`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for more than 5 minutes.
    pub fn with_skew(self, skew: Duration) -> Result<Self, Error> {
        if skew > SKEW_LIMIT {
            return Err(Error::invalid(
                "the clock skew of tokens must be at most 5 minutes: synchronize the clocks",
            ));
        }
        Ok(Self { skew, ..self })
    }

    /// Requires the header `typ` to be `typ` (RFC 8725, 3.11), such as `at+jwt` for the access tokens of RFC 9068. The
    /// comparison ignores case and the prefix `application/` (RFC 7515, 4.1.9).
    #[must_use]
    pub fn with_type(self, typ: &str) -> Self {
        Self { typ: Some(without_prefix(typ).into()), ..self }
    }

    /// Verifies `token` and returns its claims.
    ///
    /// # Errors
    /// An HTTP edge responds with 401 to each of these errors. Returns
    /// - [`JwtError::Malformed`] if the token is over 8 KiB or not a JWT, if its algorithm, type, issuer or audience is
    ///   not that of the verifier, if its header has `crit`, `cty` or an invalid `kid`, if a required claim is missing,
    ///   or if a claim is malformed or contains control characters;
    /// - [`JwtError::UnknownKey`] if the key source has no key for the token;
    /// - [`JwtError::Signature`] if the signature does not verify;
    /// - [`JwtError::Expired`] if the token's `exp`, with the clock skew added, has passed;
    /// - [`JwtError::NotYetValid`] if the token's `nbf`, with the clock skew subtracted, is in the future;
    /// - [`JwtError::Subject`] if the claim `sub` is empty, over 256 bytes, or contains control characters.
    ///
    /// # Panics
    /// Panics in jsonwebtoken if the application enabled none or more than one of its crypto backends and installed no
    /// `CryptoProvider`.
    pub fn verify(&self, token: &str) -> Result<Claims, JwtError> {
        if token.len() > TOKEN_LIMIT {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        // Check the header before the key is looked up, so that a malformed header does not cause a refresh of the
        // keys.
        if !self.accepts(&header) {
            return Err(JwtError::Malformed);
        }
        let key = self.keys.key(header.kid.as_deref()).ok_or(JwtError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.rules)
            .map_err(|e| match e.kind() {
                ErrorKind::InvalidSignature => JwtError::Signature,
                _ => JwtError::Malformed,
            })?
            .claims;
        self.check_time(&claims)?;
        if !is_name(&claims.sub, SUBJECT_LIMIT) {
            return Err(JwtError::Subject);
        }
        // The issuer and one of the audiences equal the configuration. The other audiences are returned unchanged, so
        // check them.
        if !claims.aud.iter().all(|audience| is_name(audience, TOKEN_LIMIT))
            || claims.scope.contains(is_control)
        {
            return Err(JwtError::Malformed);
        }
        Ok(claims)
    }

    /// Returns the end of the token's validity, its `exp` plus the clock skew, in seconds since 1970.
    ///
    /// From this second on [`verify`](Self::verify) refuses the token. End a session or a cache entry that depends on
    /// the token at the same time.
    #[must_use]
    pub fn expires_at_unix(&self, claims: &Claims) -> u64 {
        claims.exp.saturating_add(self.skew.as_secs())
    }

    fn accepts(&self, header: &Header) -> bool {
        let typ = header.typ.as_deref().map(without_prefix);
        let type_matches = match &self.typ {
            Some(required) => typ.is_some_and(|typ| typ.eq_ignore_ascii_case(required)),
            None => typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt")),
        };
        let valid_kid = header.kid.as_deref().is_none_or(|kid| is_name(kid, KID_LIMIT));
        // No critical extension is supported. `cty` announces a nested token.
        let plain = header.crit.is_none() && header.cty.is_none();
        self.rules.algorithms.contains(&header.alg) && type_matches && valid_kid && plain
    }

    fn check_time(&self, claims: &Claims) -> Result<(), JwtError> {
        let now = self.clock.unix().as_secs();
        if self.expires_at_unix(claims) <= now {
            return Err(JwtError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(self.skew.as_secs())) {
            return Err(JwtError::NotYetValid);
        }
        Ok(())
    }
}

/// Returns whether `text` has 1 to `limit` bytes without control characters, so that it fits into a key, a row and a
/// log line.
pub(super) fn is_name(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.contains(is_control)
}

/// Returns whether `c` is a control character of Unicode (category Cc), a line or paragraph separator, or a character
/// that changes the direction of the text around it.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `typ` without the prefix `application/`.
fn without_prefix(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("jwt::Verifier").field("algorithms", &self.rules.algorithms).finish_non_exhaustive()
    }
}
