//! The page at `/`, and what it needs: a token (development only) and the socket's address.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use comms_core::Error;

use super::{Edge, problem::Problem};
use crate::platform::identity::TOKEN_LIFE;

const INDEX: &str = include_str!("../../../web/index.html");
/// The files under `/page/`, by name, with their media types.
const FILES: [(&str, &str, &str); 8] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../../../web/page.css")),
    ("page.js", SCRIPT, include_str!("../../../web/page.js")),
    ("api.js", SCRIPT, include_str!("../../../web/api.js")),
    ("cards.js", SCRIPT, include_str!("../../../web/cards.js")),
    ("live.js", SCRIPT, include_str!("../../../web/live.js")),
    ("orders.js", SCRIPT, include_str!("../../../web/orders.js")),
    ("submission.js", SCRIPT, include_str!("../../../web/submission.js")),
    ("words.js", SCRIPT, include_str!("../../../web/words.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /`: the page. Its policy allows scripts, styles and calls of this origin, the socket, and nothing else;
/// no script in the markup runs, and no text becomes markup.
pub(super) async fn index(State(edge): State<Arc<Edge>>) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' {}/v1/events; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        edge.websocket_url
    );
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer".into())];
    (headers, asset("text/html; charset=utf-8", INDEX)).into_response()
}

/// `GET /page/{file}`: a script or the style of the page.
pub(super) async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let file = FILES.iter().find(|(known, ..)| *known == name);
    let (_, media_type, text) = file.ok_or_else(|| Error::not_found("no such file"))?;
    Ok(asset(media_type, text))
}

/// A browser asks for the file again each time, so that all files of the page are of one release.
fn asset(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

#[derive(Serialize)]
pub(super) struct Realtime {
    websocket: String,
}

/// `GET /v1/realtime`: where the socket is.
pub(super) async fn realtime(State(edge): State<Arc<Edge>>) -> Json<Realtime> {
    Json(Realtime { websocket: edge.websocket_url.clone() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    user: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    expires_in: u64,
}

/// `POST /dev/token`: a token for any user. The route exists only with a development issuer.
pub(super) async fn token(
    State(edge): State<Arc<Edge>>,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<Json<Token>, Problem> {
    let Json(TokenRequest { user }) = body?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if user.is_empty() || user.len() > 64 || !user.bytes().all(plain) {
        let detail = "user is 1 to 64 letters, digits, - and _.";
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation",
            "No such user name",
            detail,
        ));
    }
    let issuer = edge.issuer.as_ref().ok_or_else(|| Error::not_found("no development issuer"))?;
    let token = issuer.token(&user, TOKEN_LIFE)?;
    Ok(Json(Token { token, expires_in: TOKEN_LIFE.as_secs() }))
}

/// What to try in a terminal, for a person who has started the system.
pub(super) fn hint(gateway: SocketAddr, socket: &str) -> String {
    let socket = socket.replacen("ws", "http", 1);
    format!(
        r#"open http://{gateway}/ and place an order, or:

  TOKEN=$(curl -s http://{gateway}/dev/token -H 'content-type: application/json' -d '{{"user":"ann"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')

  # place an order
  curl -i http://{gateway}/v1/orders -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
    -H "idempotency-key: $(cat /proc/sys/kernel/random/uuid)" \
    -d '{{"ad_id":"bike-42","quantity":1,"price":{{"minor":129900,"currency":"RUB"}}}}'

  # watch it, in another terminal: curl speaks WebSocket's handshake and shows its frames
  curl -sN --http1.1 {socket}/v1/events -H "authorization: Bearer $TOKEN" -H 'connection: upgrade' \
    -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: Y29tbXMtcmVmZXJlbmNlIQ==' --output - | cat -v"#
    )
}
