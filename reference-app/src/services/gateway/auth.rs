//! Who asks: the bearer token of the request.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
};

use super::{Edge, problem::Problem};

/// The verified subject of the token.
pub(super) struct Principal(pub(super) String);

impl FromRequestParts<Arc<Edge>> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = token else {
            return Err(refusal("Authorization: Bearer <token> is missing", "Bearer"));
        };
        match edge.verifier.verify(token) {
            Ok(claims) => Ok(Self(claims.sub)),
            Err(error) => Err(refusal(&error.to_string(), "Bearer error=\"invalid_token\"")),
        }
    }
}

/// RFC 6750: the challenge says whether a token was missing or wrong.
fn refusal(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Who are you?", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
