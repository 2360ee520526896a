//! The WebSocket handshake: `GET /v1/events`.

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use comms_core::{clock::Clock, jwt::Verifier};
use comms_ws::{Hub, Session, credentials};

use super::domain;
use crate::platform::http::{self, Edge, Guarded, Problem, unauthenticated, verified};

/// The time limit of a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The largest request body, in bytes. A handshake has none.
const BODY_LIMIT: usize = 1024;

/// Returns the route of the handshake, behind the checks of the edge.
pub(super) fn routes(hub: Hub, verifier: Verifier, clock: Clock) -> Guarded {
    let routes = Router::new().route("/v1/events", get(open)).with_state(hub);
    http::edge(routes, Edge { verifier, timeout: HANDSHAKE_LIMIT, body_limit: BODY_LIMIT, clock })
}

/// Opens a socket that receives the topic of the token's subject, and may subscribe to no other topic. It ends with the
/// token.
async fn open(
    State(hub): State<Hub>,
    Extension(verifier): Extension<Verifier>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| upgrade_problem(&rejection))?;
    // RFC 6455, section 4.2.1: the key has 16 bytes. axum accepts any text.
    let key =
        headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| BASE64_STANDARD.decode(key.as_bytes()).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "The header Sec-WebSocket-Key must be 16 bytes in Base64.",
        ));
    }
    let token = credentials(&headers).ok_or_else(|| {
        unauthenticated("Send Authorization: Bearer <token>, or the subprotocols comms.v1, bearer.<token>.")
    })?;
    let claims = verified(&verifier, token)?;
    let (own_topic, expiry) = (domain::user_topic(&claims.sub), verifier.expires_at_unix(&claims));
    let session = Session::new(claims.sub, vec![own_topic.clone()]).expires_at_unix(expiry);
    Ok(hub.accept(upgrade, &headers, session.allow(move |topic| topic == own_topic)))
}

/// Returns 400 for a request that is not a WebSocket handshake, and 426 if the client must use another version of the
/// protocol (RFC 6455, section 4.4) or HTTP/1.1.
fn upgrade_problem(rejection: &WebSocketUpgradeRejection) -> Problem {
    use WebSocketUpgradeRejection as R;
    let (status, detail) = match rejection {
        R::InvalidWebSocketVersionHeader(_) => {
            (StatusCode::UPGRADE_REQUIRED, "The header Sec-WebSocket-Version must be 13.")
        }
        R::ConnectionNotUpgradable(_) => {
            (StatusCode::UPGRADE_REQUIRED, "This connection cannot become a WebSocket: use HTTP/1.1.")
        }
        R::WebSocketKeyHeaderMissing(_) => {
            (StatusCode::BAD_REQUEST, "The header Sec-WebSocket-Key is missing.")
        }
        _ => (
            StatusCode::BAD_REQUEST,
            "Open a WebSocket here: send Connection: Upgrade and Upgrade: websocket.",
        ),
    };
    let problem = problem(status, detail);
    match status {
        StatusCode::UPGRADE_REQUIRED => problem
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        _ => problem,
    }
}

fn problem(status: StatusCode, detail: &str) -> Problem {
    Problem::new(status, "no-websocket", "The request opens no WebSocket", detail)
}
