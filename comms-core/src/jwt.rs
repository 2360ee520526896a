//! JWT verification (RFC 7519, RFC 8725), shared by the gateway and the WebSocket handshake.
//!
//! The algorithm is pinned per verifier and never read from the token, so neither `none` nor a
//! public key used as an HMAC secret can pass. Time comes from the injected clock. No crypto backend
//! is chosen here: the application enables exactly one of jsonwebtoken's.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};

use crate::Clock;

/// A token longer than this is refused unread.
const TOKEN_LIMIT: usize = 8 * 1024;

/// The claims this house reads; others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is.
    pub sub: String,
    /// Who says so.
    pub iss: String,
    /// For whom: one or several (RFC 7519, 4.1.3).
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Not after, seconds since 1970.
    pub exp: u64,
    /// Not before, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// What it may do, space-separated (RFC 8693).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Not a JWT of the pinned algorithm with the required claims, or for another audience or issuer.
    #[error("the token is malformed, or not for this audience, issuer or algorithm")]
    Malformed,
    /// The signature does not fit any known key.
    #[error("the token's signature does not verify")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Immature,
}

/// Where keys come from, so that they can rotate: asked at each verification.
pub trait KeySource: Send + Sync + 'static {
    /// The key of this `kid`; of a token without one, the only key, if there is only one.
    fn key(&self, kid: Option<&str>) -> Option<Arc<DecodingKey>>;
}

impl KeySource for Arc<DecodingKey> {
    fn key(&self, _: Option<&str>) -> Option<Arc<DecodingKey>> {
        Some(self.clone())
    }
}

/// Verifies tokens of one issuer for one audience under one algorithm. Clones share everything.
#[derive(Clone)]
pub struct Verifier {
    keys: Arc<dyn KeySource>,
    rules: Arc<Validation>,
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
        Self { keys: Arc::new(keys), rules: Arc::new(rules), skew: Duration::from_secs(30), clock }
    }

    /// Verifies `token` and returns its claims.
    ///
    /// # Errors
    /// [`JwtError`]: each is a 401 at an HTTP edge.
    pub fn verify(&self, token: &str) -> Result<Claims, JwtError> {
        use jsonwebtoken::errors::ErrorKind;
        if token.len() > TOKEN_LIMIT {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        let key = self.keys.key(header.kid.as_deref()).ok_or(JwtError::Signature)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.rules)
            .map_err(|e| match e.kind() {
                ErrorKind::InvalidSignature => JwtError::Signature,
                _ => JwtError::Malformed,
            })?
            .claims;
        let (now, skew) = (self.clock.unix().as_secs(), self.skew.as_secs());
        if claims.exp.saturating_add(skew) <= now {
            return Err(JwtError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(skew)) {
            return Err(JwtError::Immature);
        }
        Ok(claims)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("jwt::Verifier").field("algorithms", &self.rules.algorithms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header};

    fn verifier(clock: &Clock) -> Verifier {
        let key = Arc::new(DecodingKey::from_secret(b"right"));
        Verifier::new(Algorithm::HS256, "shop", "api", key, clock.clone())
    }

    fn token(secret: &[u8], algorithm: Algorithm, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = Claims {
            sub: "ann".into(),
            iss: "shop".into(),
            aud: vec!["web".into(), "api".into()],
            exp: 1_000,
            nbf: None,
            scope: String::new(),
        };
        change(&mut claims);
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret)).unwrap()
    }

    #[test]
    fn accepts_only_what_was_signed_for_it_and_is_in_time() {
        let clock = Clock::manual(Duration::from_secs(900));
        let verifier = verifier(&clock);
        let good = token(b"right", Algorithm::HS256, |_| {});
        assert_eq!(verifier.verify(&good).unwrap().sub, "ann");
        let refused = [
            (token(b"wrong", Algorithm::HS256, |_| {}), JwtError::Signature),
            (token(b"right", Algorithm::HS512, |_| {}), JwtError::Malformed),
            (token(b"right", Algorithm::HS256, |c| c.aud = vec!["other".into()]), JwtError::Malformed),
            (token(b"right", Algorithm::HS256, |c| c.iss = "other".into()), JwtError::Malformed),
            (token(b"right", Algorithm::HS256, |c| c.exp = 870), JwtError::Expired),
            (token(b"right", Algorithm::HS256, |c| c.nbf = Some(931)), JwtError::Immature),
            (String::new(), JwtError::Malformed),
            ("a.b.c".into(), JwtError::Malformed),
            ("x".repeat(TOKEN_LIMIT + 1), JwtError::Malformed),
        ];
        for (text, why) in refused {
            assert_eq!(verifier.verify(&text), Err(why));
        }
        let unsigned = good.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert!(verifier.verify(&unsigned).is_err());
        clock.advance(Duration::from_secs(131));
        assert_eq!(verifier.verify(&good), Err(JwtError::Expired));
    }
}
