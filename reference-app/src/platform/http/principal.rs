//! The authenticated caller of a request.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
};
use comms_core::{
    Error,
    jwt::{Claims, Verifier},
};

use super::Problem;

/// The subject of the request's bearer token, verified. Taken as an extractor on routes within
/// [`edge`](super::edge), which has the verifier; a request without a valid token is answered with 401 (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let verifier = parts.extensions.get::<Verifier>();
        let verifier =
            verifier.ok_or_else(|| Error::internal("a route with a principal outside of an edge"))?;
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or_else(|| unauthenticated("Send the header Authorization: Bearer <token>."))?;
        verified(verifier, token).map(|claims| Self(claims.sub))
    }
}

/// The claims of `token`.
///
/// # Errors
/// 401 with the reason, where `verifier` refuses the token.
pub fn verified(verifier: &Verifier, token: &str) -> Result<Claims, Problem> {
    verifier.verify(token).map_err(|error| refusal(&error.to_string(), "Bearer error=\"invalid_token\""))
}

/// 401 for a request without a token.
#[must_use]
pub fn unauthenticated(detail: &str) -> Problem {
    refusal(detail, "Bearer")
}

/// RFC 6750: the challenge has an error code only where a token was sent.
fn refusal(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Authentication is required", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
