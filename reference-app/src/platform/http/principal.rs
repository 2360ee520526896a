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

/// The subject of the request's verified bearer token, as an extractor for routes inside [`edge`](super::edge()),
/// which provides the verifier. A request without a valid token is answered with 401 (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let verifier = parts.extensions.get::<Verifier>();
        let verifier = verifier
            .ok_or_else(|| Error::internal("a route that extracts Principal is not wrapped by http::edge"))?;
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or_else(|| unauthenticated("Send the header Authorization: Bearer <token>."))?;
        verified(verifier, token).map(|claims| Self(claims.sub))
    }
}

/// Returns the claims of `token`.
///
/// # Errors
/// Returns a problem with status 401 and the reason if `verifier` refuses the token.
pub fn verified(verifier: &Verifier, token: &str) -> Result<Claims, Problem> {
    verifier.verify(token).map_err(|error| refusal(&error.to_string(), "Bearer error=\"invalid_token\""))
}

/// Returns the problem for a request without a token: 401.
#[must_use]
pub fn unauthenticated(detail: &str) -> Problem {
    refusal(detail, "Bearer")
}

/// Returns a 401 problem. RFC 6750: the challenge has an error code only if the request contained a token.
fn refusal(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Authentication is required", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
