//! Chooses the transport of a request, and admits its session.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts};
use hyper::upgrade::OnUpgrade;

use super::{body::Body, problem, resume::Resume, sse::EventStream, websocket};
use crate::{
    hub::state::HubState,
    message::Encoding,
    refusal::Refusal,
    session::{Link, Session},
    websocket::handshake::Handshake,
};

/// Opens a session on a WebSocket or an event stream, or refuses the request. Without `session`, the client has to
/// authenticate in its first frame.
pub(crate) fn accept<B>(
    hub: &Arc<HubState>,
    request: Request<B>,
    session: Option<Session>,
    address: Option<IpAddr>,
) -> Response<Body> {
    let (mut parts, _) = request.into_parts();
    let result = match wants_websocket(&parts) {
        true => accept_websocket(hub, &mut parts, session, address),
        false => accept_events(hub, &parts, session, address),
    };
    result.unwrap_or_else(|refusal| {
        hub.env.meters.refused(refusal);
        problem::response(refusal, parts.version)
    })
}

fn accept_websocket(
    hub: &Arc<HubState>,
    parts: &mut Parts,
    session: Option<Session>,
    address: Option<IpAddr>,
) -> Result<Response<Body>, Refusal> {
    check_origin(hub, &parts.headers)?;
    let mut handshake = Handshake::check(parts).map_err(Refusal::Handshake)?;
    if !hub.env.config.compression {
        handshake.deflate = None;
    }
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::NotUpgradable)?;
    let principal = session.as_ref().map(|session| &session.principal);
    let admission = hub.registry.admit(principal, address, &hub.env.config)?;
    hub.start();
    let is_deflated = handshake.deflate.is_some();
    let resume = Resume::of(parts);
    let accepted = websocket::Accepted { hub: hub.clone(), admission, session, is_deflated, resume };
    websocket::spawn(accepted, upgrade);
    Ok(handshake.response())
}

fn accept_events(
    hub: &Arc<HubState>,
    parts: &Parts,
    session: Option<Session>,
    address: Option<IpAddr>,
) -> Result<Response<Body>, Refusal> {
    let session = session.filter(|_| accepts_events(parts)).ok_or(Refusal::NoTransport)?;
    check_origin(hub, &parts.headers)?;
    let admission = hub.registry.admit(Some(&session.principal), address, &hub.env.config)?;
    hub.start();
    let resume = Resume::of(parts);
    let mut link = Link::open(hub, admission, Some(&session), Encoding::EventStream, None);
    link.start(session, resume.topics, resume.cursor.as_deref());
    Ok(event_stream(EventStream::new(link, hub.env.clock.random_unit())))
}

/// Returns the response whose body is `stream`.
fn event_stream(stream: EventStream) -> Response<Body> {
    let mut response = Response::new(Body::events(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // `no-transform`: a proxy that compresses would hold events back. nginx buffers a response without the header
    // `x-accel-buffering`.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Refuses pages of other origins. A browser sends `Origin` on every handshake and no page can prevent that, so a request
/// without `Origin` does not come from a page. An event stream of the page's own origin has none either.
fn check_origin(hub: &HubState, headers: &HeaderMap) -> Result<(), Refusal> {
    match is_origin_allowed(headers, &hub.env.config.origins) {
        true => Ok(()),
        false => Err(Refusal::Origin),
    }
}

fn is_origin_allowed(headers: &HeaderMap, origins: &[String]) -> bool {
    let mut given = headers.get_all(header::ORIGIN).iter();
    given.all(|origin| origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()))
}

/// Returns whether the request is a WebSocket handshake, of HTTP/1.1 or of HTTP/2, or should be one.
fn wants_websocket(parts: &Parts) -> bool {
    let upgrades = parts.headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    let mut protocols = upgrades.flat_map(|value| value.split(','));
    protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
        || parts.headers.contains_key(header::SEC_WEBSOCKET_VERSION)
        || parts.method == Method::CONNECT
}

fn accepts_events(parts: &Parts) -> bool {
    let mut accepted = parts.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_events =
        |media: &str| media.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream");
    parts.method == Method::GET && accepted.any(|value| value.split(',').any(is_events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_refused_unless_listed() {
        let origins = ["https://shop.example".to_owned()];
        let allowed = |origin: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origin {
                headers.append(header::ORIGIN, http::HeaderValue::from_static(origin));
            }
            is_origin_allowed(&headers, &origins)
        };
        assert!(allowed(&[]), "a request without an origin");
        assert!(allowed(&["https://shop.example"]));
        for evil in ["https://evil.example", "https://shop.example.evil", "http://shop.example", "null", ""] {
            assert!(!allowed(&[evil]), "{evil}");
        }
        assert!(!allowed(&["https://shop.example", "https://evil.example"]));
    }

    #[test]
    fn only_the_upgrade_to_websocket_is_one() {
        let wants = |upgrade: &str| {
            let request = Request::get("/").header("upgrade", upgrade).header("connection", "upgrade");
            wants_websocket(&request.body(()).unwrap().into_parts().0)
        };
        assert!(wants("WebSocket") && wants("h2c, websocket"));
        assert!(!wants("h2c"), "clients send it with any request");
    }
}
