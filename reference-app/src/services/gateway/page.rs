//! The page at `/`, and what it needs: a token (development only) and the socket's address.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
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
/// no script in the markup runs, and no text becomes markup. A foreign host is refused: under DNS rebinding the page would
/// get a token there.
pub(super) async fn index(
    State(gateway): State<Arc<Gateway>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    gateway.hosts.check_host(&uri, &headers)?;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' {}/v1/events; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        gateway.websocket_url
    );
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer".into())];
    Ok((headers, asset("text/html; charset=utf-8", INDEX)).into_response())
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
pub(super) async fn realtime(State(gateway): State<Arc<Gateway>>) -> Json<Realtime> {
    Json(Realtime { websocket: gateway.websocket_url.clone() })
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

/// `POST /dev/token`: a token for any user, for programs of this machine and for the page. The route exists only with a
/// development issuer.
pub(super) async fn token(
    State(gateway): State<Arc<Gateway>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Json<TokenRequest>, Problem>,
) -> Result<Json<Token>, Problem> {
    gateway.hosts.check_origin(&uri, &headers)?;
    let Json(TokenRequest { user }) = body?;
    let issuer = gateway.issuer.as_ref().ok_or_else(|| Error::not_found("no development issuer"))?;
    let token = issuer.token(&user, TOKEN_LIFE)?;
    Ok(Json(Token { token, expires_in: TOKEN_LIFE.as_secs() }))
}

/// Commands to try, printed after the start. Each block is complete, so that it works in any terminal.
pub(super) fn hint(gateway: &str, socket: &str, development: bool) -> String {
    // Frames as lines: a header of 2 or 4 bytes stands before the JSON of each, and pings between them.
    let lines = r#"perl -pe 'BEGIN { $/ = "}"; $| = 1 } s/\x89\x00//g; s/\x81(?:\x7e..|.)(?=\{)/\n/sg'"#;
    let socket = socket.replacen("ws", "http", 1);
    let (first, token) = match development {
        true => (
            format!("Open {gateway}/ and place an order. Or, in a terminal:"),
            format!(
                r#"TOKEN=$(curl -s {gateway}/dev/token -H 'content-type: application/json' \
    -d '{{"user":"ann"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
  "#
            ),
        ),
        false => ("With a token of your issuer in TOKEN:".to_owned(), String::new()),
    };
    format!(
        r#"{first}

  # Watch the orders on their way.
  {token}curl -sN --http1.1 {socket}/v1/events -H "authorization: Bearer $TOKEN" -H 'connection: upgrade' \
    -H 'upgrade: websocket' -H 'sec-websocket-version: 13' -H 'sec-websocket-key: Y29tbXMtcmVmZXJlbmNlIQ==' \
    --output - | {lines}

And in another terminal:

  # Place an order.
  {token}curl -si {gateway}/v1/orders -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
    -H "idempotency-key: try-$(date +%s)" \
    -d '{{"ad_id":"bike-42","quantity":1,"price":{{"minor":129900,"currency":"RUB"}}}}'
"#
    )
}
