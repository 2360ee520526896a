//! The claims of a token.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// The claims that a [`Verifier`](super::Verifier) reads; others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Raw")]
pub struct Claims {
    /// The subject. In a verified token, it has 1 to 256 bytes without control characters.
    pub sub: String,
    /// The issuer.
    pub iss: String,
    /// The audiences: one or several (RFC 7519, 4.1.3).
    pub aud: Vec<String>,
    /// The expiration time, from which on the token is invalid, in seconds since 1970.
    /// [`Verifier::expires_at_unix`](super::Verifier::expires_at_unix) adds the clock skew to it.
    pub exp: u64,
    /// The time before which the token is not yet valid, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The scopes, separated by spaces (RFC 8693, 4.2). Empty if the token has none.
    ///
    /// Deserialized from `scope`, or from `scp` if `scope` is absent or null, as a string or an array of strings.
    /// Serialized as the string `scope`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

impl Claims {
    /// Returns whether the token has the scope `scope`. The comparison is case-sensitive.
    ///
    /// ```
    /// # use comms_core::jwt::Claims;
    /// let claims: Claims = serde_json::from_value(serde_json::json!({
    ///     "sub": "ann", "iss": "shop", "aud": "api", "exp": 1_000, "scope": ["orders:read", "orders:write"]
    /// }))?;
    /// assert_eq!(claims.scope, "orders:read orders:write");
    /// assert!(claims.has_scope("orders:read") && !claims.has_scope("orders"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split_ascii_whitespace().any(|other| other == scope)
    }
}

/// The claims in the forms that issuers use.
#[derive(Deserialize)]
struct Raw {
    sub: String,
    iss: String,
    aud: OneOrMany,
    #[serde(deserialize_with = "numeric_date")]
    exp: u64,
    #[serde(default, deserialize_with = "optional_date")]
    nbf: Option<u64>,
    scope: Option<OneOrMany>,
    /// The name of `scope` in tokens of Okta and Microsoft Entra.
    scp: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<Raw> for Claims {
    fn from(raw: Raw) -> Self {
        let Raw { sub, iss, aud, exp, nbf, scope, scp } = raw;
        let aud = match aud {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        let scope = match scope.or(scp) {
            Some(OneOrMany::One(scopes)) => scopes,
            Some(OneOrMany::Many(scopes)) => scopes.join(" "),
            None => String::new(),
        };
        Self { sub, iss, aud, exp, nbf, scope }
    }
}

/// Deserializes a NumericDate (RFC 7519, section 2), and drops its fraction.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Date {
        Whole(u64),
        Fraction(f64),
    }
    match Date::deserialize(deserializer)? {
        Date::Whole(seconds) => Ok(seconds),
        Date::Fraction(seconds) if (0.0..1e15).contains(&seconds) => Ok(seconds as u64),
        Date::Fraction(_) => Err(D::Error::custom("not a date in seconds since 1970")),
    }
}

fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    numeric_date(deserializer).map(Some)
}
