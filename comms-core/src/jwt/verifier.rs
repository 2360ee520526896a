//! Verification of one token.

use jsonwebtoken::{Header, Validation, errors::ErrorKind};
use std::{fmt, sync::Arc, time::Duration};

use super::{Algorithm, Claims, JwtError, KeySource};
use crate::{Error, clock::Clock};

/// A token longer than this is refused unread.
pub(super) const TOKEN_LIMIT: usize = 8 * 1024;
/// A key id longer than this is refused, and never asked for.
pub(super) const KID_LIMIT: usize = 256;
/// A subject longer than this is refused: it stands in the keys of rows, and in their indexes.
pub(super) const SUBJECT_LIMIT: usize = 256;
/// More than this is not a difference of clocks.
const SKEW_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Verifies tokens of one issuer for one audience under one algorithm. Clones share everything.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<dyn KeySource>,
    rules: Arc<Validation>,
    /// The `typ` that a token must have; without it `JWT` or none.
    typ: Option<Arc<str>>,
    skew: Duration,
    clock: Clock,
}

impl Verifier {
    /// Accepts tokens by `issuer` for `audience` under `algorithm` with a key of `keys`. The clocks of
    /// the two sides may differ by 30 s.
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
        // Checked below, against the injected clock.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        let (keys, rules, skew) = (Arc::new(keys), Arc::new(rules), Duration::from_secs(30));
        Self { keys, rules, typ: None, skew, clock }
    }

    /// The same for clocks that may differ by `skew`, in whole seconds: an expired token is good for so much
    /// longer, an early one so much sooner.
    ///
    /// # Errors
    /// `Invalid` for more than 5 minutes: let the clocks be set instead.
    pub fn with_skew(self, skew: Duration) -> Result<Self, Error> {
        if skew > SKEW_LIMIT {
            return Err(Error::invalid("the clock skew of tokens is at most 5 minutes"));
        }
        Ok(Self { skew, ..self })
    }

    /// The same for tokens whose header `typ` is `typ` and no other (RFC 8725, 3.11): `at+jwt` for the access
    /// tokens of RFC 9068. A prefix `application/` and upper case make no difference (RFC 7515, 4.1.9).
    #[must_use]
    pub fn with_type(self, typ: &str) -> Self {
        Self { typ: Some(short_type(typ).into()), ..self }
    }

    /// Verifies `token` and returns its claims.
    ///
    /// # Errors
    /// [`JwtError`]: each is a 401 at an HTTP edge.
    ///
    /// # Panics
    /// In jsonwebtoken, where the application has enabled none of its crypto backends, or two.
    pub fn verify(&self, token: &str) -> Result<Claims, JwtError> {
        if token.len() > TOKEN_LIMIT {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        // Before a key is looked up: a hostile header must not cause a refresh of the keys.
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
        // The issuer is the expected one. One of the audiences is; the others are returned beside it.
        if !claims.aud.iter().all(|audience| is_name(audience, TOKEN_LIMIT))
            || claims.scope.contains(is_control)
        {
            return Err(JwtError::Malformed);
        }
        Ok(claims)
    }

    /// Returns the end of the token's life: its `exp` and the clock skew, in seconds since 1970. From this second on
    /// [`verify`](Self::verify) refuses the token, so what a token opens (a session, a cache entry) ends here too.
    #[must_use]
    pub fn expires_at_unix(&self, claims: &Claims) -> u64 {
        claims.exp.saturating_add(self.skew.as_secs())
    }

    fn accepts(&self, header: &Header) -> bool {
        let typ = header.typ.as_deref().map(short_type);
        let right_type = match &self.typ {
            Some(required) => typ.is_some_and(|typ| typ.eq_ignore_ascii_case(required)),
            None => typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt")),
        };
        let sane_kid = header.kid.as_deref().is_none_or(|kid| is_name(kid, KID_LIMIT));
        // A critical extension must be understood, and none is. `cty` announces a token within the token.
        let plain = header.crit.is_none() && header.cty.is_none();
        self.rules.algorithms.contains(&header.alg) && right_type && sane_kid && plain
    }

    fn check_time(&self, claims: &Claims) -> Result<(), JwtError> {
        let now = self.clock.unix().as_secs();
        if self.expires_at_unix(claims) <= now {
            return Err(JwtError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(self.skew.as_secs())) {
            return Err(JwtError::Immature);
        }
        Ok(())
    }
}

/// Whether `text` is a name that fits into a key, a row and a line of a log: 1 to `limit` bytes without control
/// characters.
pub(super) fn is_name(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.contains(is_control)
}

/// The control characters of Unicode (category Cc), the separators of lines and paragraphs, and the characters that
/// reverse the order in which the text around them is shown.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn short_type(typ: &str) -> &str {
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
