//! The web page at `/`, the URL of the sockets, and the token endpoint of development.

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
    http::{ADMIN_SCOPE, Json, Problem},
    identity::TOKEN_LIFE,
};

const INDEX: &str = include_str!("../../../web/index.html");
/// The files under `/page/`: name, media type, content.
const FILES: [(&str, &str, &str); 9] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../../../web/page.css")),
    ("page.js", SCRIPT, include_str!("../../../web/page.js")),
    ("api.js", SCRIPT, include_str!("../../../web/api.js")),
    ("comms-events.js", SCRIPT, comms_ws::BROWSER_CLIENT),
    ("cards.js", SCRIPT, include_str!("../../../web/cards.js")),
    ("live.js", SCRIPT, include_str!("../../../web/live.js")),
    ("orders.js", SCRIPT, include_str!("../../../web/orders.js")),
    ("submission.js", SCRIPT, include_str!("../../../web/submission.js")),
    ("words.js", SCRIPT, include_str!("../../../web/words.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /`: the page. Its Content-Security-Policy allows scripts, styles and calls of this origin, the socket, and
/// nothing else. Inline scripts do not run, and scripts cannot turn text into markup. A request for another host is
/// refused: under DNS rebinding, the page of another site could get a token.
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

/// Browsers do not cache the files, so that all files of a loaded page come from one release.
fn asset(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

/// The body of `GET /v1/realtime`.
#[derive(Serialize)]
pub(super) struct Realtime {
    websocket: String,
}

/// `GET /v1/realtime`: returns the URL of the sockets.
pub(super) async fn realtime(State(gateway): State<Arc<Gateway>>) -> Json<Realtime> {
    Json(Realtime { websocket: gateway.websocket_url.clone() })
}

#[derive(Deserialize, Validate)]
pub(super) struct TokenRequest {
    #[garde(length(min = 1, max = 64), custom(super::orders::identifier))]
    user: String,
    /// The scope of the token: `admin`, or none.
    #[garde(inner(custom(known_scope)))]
    #[serde(default)]
    scope: Option<String>,
}

fn known_scope(scope: &str, _: &()) -> garde::Result {
    match scope {
        ADMIN_SCOPE => Ok(()),
        _ => Err(garde::Error::new("the only scope is admin")),
    }
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    expires_in: u64,
}

/// `POST /dev/token`: returns a token for any user, to programs on this machine and to the page. The route exists only
/// if there is a development issuer.
pub(super) async fn token(
    State(gateway): State<Arc<Gateway>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Json<TokenRequest>, Problem>,
) -> Result<Json<Token>, Problem> {
    gateway.hosts.check_origin(&uri, &headers)?;
    let Json(TokenRequest { user, scope }) = body?;
    let issuer = gateway.issuer.as_ref().ok_or_else(|| Error::not_found("no development issuer"))?;
    let token = issuer.token_with_scope(&user, scope.as_deref().unwrap_or_default(), TOKEN_LIFE)?;
    Ok(Json(Token { token, expires_in: TOKEN_LIFE.as_secs() }))
}

/// Returns the commands to try that the program prints after its start. Each block sets all its variables, so that it
/// works in any terminal.
pub(super) fn hint(gateway: &str, socket: &str, development: bool) -> String {
    // Prints each frame as a line: removes the frame headers of 2 or 4 bytes, and pings.
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
