//! The page at `/`, and what it needs: a token (development only) and the socket's address.

use axum::{
    extract::State,
    http::header,
    response::{Html, IntoResponse},
};
use comms_core::Error;
use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Gateway;
use crate::platform::{
    http::{Json, Problem},
    identity::TOKEN_LIFE,
};

const INDEX: &str = include_str!("../../../web/index.html");
/// The page's own script and style, this origin, and the socket; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn index() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(INDEX))
}

#[derive(Serialize)]
pub(super) struct Realtime {
    websocket: String,
}

/// `GET /v1/realtime`: where the socket is.
pub(super) async fn realtime(State(gateway): State<Gateway>) -> Json<Realtime> {
    Json(Realtime { websocket: gateway.settings.websocket_url.clone() })
}

#[derive(Deserialize, Validate)]
pub(super) struct TokenRequest {
    #[garde(length(min = 1, max = 64), custom(super::orders::identifier))]
    user: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    expires_in: u64,
}

/// `POST /dev/token`: a token for any user. The route exists only with a development issuer.
pub(super) async fn token(
    State(gateway): State<Gateway>,
    Json(TokenRequest { user }): Json<TokenRequest>,
) -> Result<Json<Token>, Problem> {
    let issuer = gateway.settings.issuer.as_ref().ok_or_else(|| Error::not_found("no development issuer"))?;
    let token = issuer.token(&user, TOKEN_LIFE)?;
    Ok(Json(Token { token, expires_in: TOKEN_LIFE.as_secs() }))
}
