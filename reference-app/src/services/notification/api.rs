//! The socket's handshake.

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

/// The longest a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// A handshake has no body.
const BODY_LIMIT: usize = 1024;

pub(super) fn routes(hub: Hub, verifier: Verifier, clock: Clock) -> Guarded {
    let routes = Router::new().route("/v1/events", get(open)).with_state(hub);
    http::edge(routes, Edge { verifier, timeout: HANDSHAKE_LIMIT, body_limit: BODY_LIMIT, clock })
}

/// Opens a socket for the topics of its user.
async fn open(
    State(hub): State<Hub>,
    Extension(verifier): Extension<Verifier>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| no_upgrade(&rejection))?;
    // RFC 6455, section 4.2.1: the key has 16 bytes. axum takes any text.
    let key =
        headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| BASE64_STANDARD.decode(key.as_bytes()).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "The header Sec-WebSocket-Key must be 16 bytes in Base64.",
        ));
    }
    let token = credentials(&headers).ok_or_else(|| {
        unauthenticated("Send Authorization: Bearer <token>, or the subprotocols comms.v1, bearer.<token>.")
    })?;
    let claims = verified(&verifier, token)?;
    let (own, end) = (domain::user_topic(&claims.sub), verifier.expires_at_unix(&claims));
    let session = Session::new(claims.sub, vec![own.clone()]).expires_at_unix(end);
    Ok(hub.accept(upgrade, &headers, session.allow(move |topic| topic == own)))
}

/// A request that opens no socket: 400, and 426 where another version (RFC 6455, section 4.4) or protocol is needed.
fn no_upgrade(rejection: &WebSocketUpgradeRejection) -> Problem {
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
    let problem = refused(status, detail);
    match status {
        StatusCode::UPGRADE_REQUIRED => problem
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        _ => problem,
    }
}

fn refused(status: StatusCode, detail: &str) -> Problem {
    Problem::new(status, "no-websocket", "The request opens no WebSocket", detail)
}
