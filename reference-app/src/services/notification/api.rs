//! The sessions of users: `GET /v1/events` and `POST /v1/events/ticket`.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use comms_core::{clock::Clock, jwt::Verifier};
use comms_ws::{Hub, credentials};
use serde::Serialize;
use tower_http::cors::CorsLayer;

use super::sessions::Sessions;
use crate::platform::http::{self, Bearer, Edge, Guarded, Problem, unauthenticated, verified};

/// The time limit of a request, until the session begins.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The largest request body, in bytes. No route reads one.
const BODY_LIMIT: usize = 1024;
/// The lifetime of a ticket in seconds, as [`Hub::issue_ticket`] sets it.
const TICKET_SECONDS: u64 = 30;

/// What the routes use. Clones share it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) hub: Hub,
    pub(super) sessions: Sessions,
    pub(super) verifier: Verifier,
}

/// Returns the routes, behind the checks of the edge. Pages of `origins` may read their responses.
pub(super) fn routes(api: Api, origins: &[String], clock: Clock) -> Guarded {
    let verifier = api.verifier.clone();
    let routes = Router::new()
        .route("/v1/events", get(open))
        .route("/v1/events/ticket", post(issue_ticket))
        .layer(cors(origins))
        .with_state(api);
    http::edge(routes, Edge { verifier, timeout: HANDSHAKE_LIMIT, body_limit: BODY_LIMIT, clock })
}

/// Returns the layer that lets pages of `origins` fetch a ticket and read the event stream (Fetch Standard, CORS). A
/// WebSocket needs none: the hub checks its origin.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let headers = [header::AUTHORIZATION, header::CACHE_CONTROL, HeaderName::from_static("last-event-id")];
    CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST]).allow_headers(headers)
}

/// Opens a WebSocket or an event stream of the bearer of a token or of a ticket. A WebSocket without either gets its
/// rights from the token of its first frame.
async fn open(
    State(Api { hub, sessions, verifier }): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    let address = peer.ip().to_canonical();
    let session = match (credentials(request.headers()), ticket(request.uri())) {
        (Some(token), _) => sessions.of_claims(verified(&verifier, token)?),
        (None, Some(ticket)) => sessions.of_ticket(&hub, &ticket).await?.ok_or_else(|| {
            unauthenticated("The ticket is not valid, has expired, or was used before. Get another one.")
        })?,
        (None, None) if request.headers().contains_key(header::UPGRADE) => {
            return Ok(hub.accept_unauthenticated(request, Some(address)).into_response());
        }
        (None, None) => {
            return Err(unauthenticated(
                "Send Authorization: Bearer <token>, or the parameter ticket from POST /v1/events/ticket.",
            ));
        }
    };
    Ok(hub.accept(request, session.address(address)).into_response())
}

/// Returns the parameter `ticket`.
fn ticket(uri: &Uri) -> Option<String> {
    let mut parameters = form_urlencoded::parse(uri.query()?.as_bytes());
    parameters.find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned())
}

/// A ticket that opens one session.
#[derive(Serialize)]
struct Ticket {
    ticket: String,
    /// In seconds.
    expires_in: u64,
}

/// `POST /v1/events/ticket`: issues a ticket to the bearer of a token, for the event stream of a browser, which sends no
/// token.
async fn issue_ticket(
    State(Api { hub, sessions, .. }): State<Api>,
    Bearer(claims): Bearer,
) -> Result<impl IntoResponse, Problem> {
    let ticket = sessions.issue_ticket(&hub, &claims)?;
    let body = Json(Ticket { ticket, expires_in: TICKET_SECONDS });
    Ok(([(header::CACHE_CONTROL, "no-store")], body))
}
