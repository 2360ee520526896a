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

/// As [`Principal`], with all claims of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer(pub Claims);

/// As [`Principal`], for routes that only administrators may use. A request whose token does not have the scope `admin`
/// is answered with 403 (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin(pub String);

/// The scope of administrators.
pub const ADMIN_SCOPE: &str = "admin";

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        claims(parts).map(|claims| Self(claims.sub))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        claims(parts).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let claims = claims(parts)?;
        if claims.has_scope(ADMIN_SCOPE) {
            return Ok(Self(claims.sub));
        }
        let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\", scope=\"admin\"");
        let error = Error::permission_denied("This request needs a token with the scope admin.");
        Err(Problem::from(error).with_header(header::WWW_AUTHENTICATE, challenge))
    }
}

/// Returns the claims of the request's bearer token.
fn claims(parts: &Parts) -> Result<Claims, Problem> {
    let verifier = parts.extensions.get::<Verifier>();
    let verifier = verifier
        .ok_or_else(|| Error::internal("a route that extracts a principal is not wrapped by http::edge"))?;
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.ok_or_else(|| unauthenticated("Send the header Authorization: Bearer <token>."))?;
    verified(verifier, token)
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
