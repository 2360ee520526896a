//! The socket's handshake.

use std::sync::Arc;

use axum::{
    Router,
    extract::{State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use comms_core::jwt::Verifier;
use comms_ws::{Hub, Session, credentials};

use super::domain;

struct Socket {
    hub: Hub,
    verifier: Verifier,
}

pub(super) fn routes(hub: Hub, verifier: Verifier) -> Router {
    Router::new().route("/v1/events", get(open)).with_state(Arc::new(Socket { hub, verifier }))
}

/// Opens a socket on what is its user's own.
async fn open(State(socket): State<Arc<Socket>>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let refuse = |detail: String| {
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], detail).into_response()
    };
    let Some(token) = credentials(&headers) else {
        return refuse(
            "send Authorization: Bearer <token>, or the subprotocols comms.v1, bearer.<token>\n".into(),
        );
    };
    match socket.verifier.verify(token) {
        Ok(claims) => {
            let own = domain::user_topic(&claims.sub);
            let end = socket.verifier.expires_at_unix(&claims);
            let session = Session::new(claims.sub, vec![own.clone()]).expires_at_unix(end);
            socket.hub.accept(upgrade, &headers, session.allow(move |topic| topic == own))
        }
        Err(error) => refuse(format!("{error}\n")),
    }
}
