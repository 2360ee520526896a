//! The check of an upgrade request, and its response (RFC 6455, section 4.2; over HTTP/2, RFC 8441).

use super::extensions;
use crate::SUBPROTOCOL;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts,
};
use hyper::ext::Protocol;
use sha1::{Digest, Sha1};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// An upgrade request that is acceptable, and what its response contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The value of `Sec-WebSocket-Accept`, or `None` over HTTP/2.
    accept: Option<String>,
    /// Whether the client offered [`SUBPROTOCOL`].
    pub(crate) subprotocol: bool,
    /// The header value that accepts compression, or `None` if it was not negotiated.
    pub(crate) deflate: Option<HeaderValue>,
}

/// The reason why a request cannot be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAcceptable {
    /// The method is not GET over HTTP/1.1, or not CONNECT over HTTP/2.
    #[error("the method of a WebSocket handshake is GET, or CONNECT over HTTP/2")]
    Method,
    /// The request does not ask for a WebSocket.
    #[error("the resource is a WebSocket: the request needs `Connection: Upgrade` and `Upgrade: websocket`")]
    NoUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("the supported version of the WebSocket protocol is 13")]
    Version,
    /// There is no, or more than one, `Sec-WebSocket-Key`, or it is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Extensions` breaches its grammar.
    #[error("Sec-WebSocket-Extensions is malformed")]
    Extensions,
    /// An extended CONNECT asks for another protocol.
    #[error("the protocol of an extended CONNECT must be websocket")]
    Protocol,
}

impl NotAcceptable {
    /// Returns the status of the response.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Extensions => StatusCode::BAD_REQUEST,
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// Returns the headers that the response needs in addition.
    pub(crate) fn headers(self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::Method => vec![(header::ALLOW, HeaderValue::from_static("GET, CONNECT"))],
            Self::NoUpgrade => upgrade_headers(),
            Self::Version => [upgrade_headers(), vec![(header::SEC_WEBSOCKET_VERSION, VERSION)]].concat(),
            Self::Key | Self::Extensions | Self::Protocol => vec![],
        }
    }
}

impl Handshake {
    /// Checks an upgrade request. Over HTTP/2, the extension of type [`hyper::ext::Protocol`] is the `:protocol`.
    ///
    /// # Errors
    /// Returns [`NotAcceptable`] if the request is not a handshake of version 13, or is malformed.
    pub(crate) fn check(request: &Parts) -> Result<Self, NotAcceptable> {
        let headers = &request.headers;
        let http2 = request.version == Version::HTTP_2;
        if http2 {
            check_connect(request)?
        } else {
            check_get(request)?
        }
        if single(headers, header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(NotAcceptable::Version);
        }
        let accept = if http2 { None } else { Some(accept_key(key(headers).ok_or(NotAcceptable::Key)?)) };
        let deflate = extensions::negotiate(headers).map_err(|_| NotAcceptable::Extensions)?;
        let subprotocol = lists(headers, header::SEC_WEBSOCKET_PROTOCOL, |p| p == SUBPROTOCOL);
        Ok(Self { accept, subprotocol, deflate })
    }

    /// Returns the response: 101 over HTTP/1.1, 200 over HTTP/2.
    pub(crate) fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        if let Some(accept) = self.accept.as_deref().and_then(|accept| HeaderValue::from_str(accept).ok()) {
            headers.extend(upgrade_headers());
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        if let Some(deflate) = &self.deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, deflate.clone());
        }
        if self.accept.is_some() {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }
}

/// Returns the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

fn upgrade_headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(header::CONNECTION, HeaderValue::from_static("upgrade")), (header::UPGRADE, WEBSOCKET)]
}

/// Checks the method and the headers of an upgrade over HTTP/1.1.
fn check_get(request: &Parts) -> Result<(), NotAcceptable> {
    let headers = &request.headers;
    if request.method != Method::GET {
        return Err(NotAcceptable::Method);
    }
    let upgrades = lists(headers, header::CONNECTION, |option| option.eq_ignore_ascii_case("upgrade"));
    let websocket = lists(headers, header::UPGRADE, |protocol| protocol.eq_ignore_ascii_case("websocket"));
    if request.version != Version::HTTP_11 || !upgrades || !websocket {
        return Err(NotAcceptable::NoUpgrade);
    }
    Ok(())
}

/// Checks the method and the protocol of an extended CONNECT over HTTP/2.
fn check_connect(request: &Parts) -> Result<(), NotAcceptable> {
    if request.method != Method::CONNECT {
        return Err(NotAcceptable::Method);
    }
    let protocol = request.extensions.get::<Protocol>();
    if protocol.is_some_and(|p| p.as_str() == "websocket") { Ok(()) } else { Err(NotAcceptable::Protocol) }
}

/// Returns the key if it is the only one and has 16 bytes.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let key = single(headers, header::SEC_WEBSOCKET_KEY)?.as_bytes();
    let mut bytes = [0; 16];
    // The longest decoded length is more than 16 for another length of the text.
    let len = STANDARD.decode_slice(key, &mut bytes).ok()?;
    (len == bytes.len()).then_some(key)
}

/// Returns the value of a header that the request has once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether an element of a comma-separated header fits.
fn lists(headers: &HeaderMap, name: HeaderName, fits: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| fits(element.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn upgrade() -> http::request::Builder {
        http::Request::get("/")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY)
    }

    fn check(request: http::request::Builder) -> Result<Handshake, NotAcceptable> {
        Handshake::check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn an_upgrade_over_http_1_is_accepted() {
        let request = upgrade()
            .header("sec-websocket-protocol", "bearer.x, comms.v1")
            .header("sec-websocket-extensions", "permessage-deflate");
        let response = check(request).unwrap().response::<()>();
        let expected = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "comms.v1"),
            (
                "sec-websocket-extensions",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
        ];
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers().len(), expected.len());
        for (name, value) in expected {
            assert_eq!(response.headers()[name], value);
        }
        let plain = check(upgrade().header("sec-websocket-protocol", "other")).unwrap().response::<()>();
        assert_eq!((plain.status().as_u16(), plain.headers().len()), (101, 3));
    }

    #[test]
    fn an_extended_connect_over_http_2_is_accepted() {
        let connect = |protocol: &'static str| {
            http::Request::connect("/")
                .version(Version::HTTP_2)
                .extension(Protocol::from_static(protocol))
                .header("sec-websocket-version", "13")
                .header("sec-websocket-protocol", "comms.v1")
        };
        let response = check(connect("websocket")).unwrap().response::<()>();
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1));
        assert_eq!(check(connect("webtransport")), Err(NotAcceptable::Protocol));
        assert_eq!(check(connect("websocket").method("GET")), Err(NotAcceptable::Method));
        let version = connect("websocket").header("sec-websocket-version", "13");
        assert_eq!(check(version), Err(NotAcceptable::Version), "twice");
        let tunnel = http::Request::connect("/").version(Version::HTTP_2);
        assert_eq!(check(tunnel), Err(NotAcceptable::Protocol));
    }

    #[test]
    fn other_requests_are_refused() {
        let without = |name: &str| {
            let mut request = upgrade();
            request.headers_mut().unwrap().remove(name);
            request
        };
        let with = |name: &str, value: &'static str| without(name).header(name, value);
        let table = [
            (upgrade().method("POST"), NotAcceptable::Method, 405),
            (upgrade().version(Version::HTTP_10), NotAcceptable::NoUpgrade, 426),
            (without("connection"), NotAcceptable::NoUpgrade, 426),
            (without("upgrade"), NotAcceptable::NoUpgrade, 426),
            (with("upgrade", "h2c"), NotAcceptable::NoUpgrade, 426),
            (without("sec-websocket-version"), NotAcceptable::Version, 426),
            (with("sec-websocket-version", "8"), NotAcceptable::Version, 426),
            (without("sec-websocket-key"), NotAcceptable::Key, 400),
            (upgrade().header("sec-websocket-key", KEY), NotAcceptable::Key, 400),
            (upgrade().header("sec-websocket-extensions", "a b"), NotAcceptable::Extensions, 400),
        ];
        for (request, reason, status) in table {
            assert_eq!(check(request), Err(reason));
            assert_eq!(reason.status(), status);
        }
        let version = NotAcceptable::Version.headers();
        assert!(version.contains(&(header::SEC_WEBSOCKET_VERSION, VERSION)), "{version:?}");
    }

    #[test]
    fn a_key_has_16_bytes() {
        for (key, valid) in [
            (KEY, true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("AAAAAAAAAAAAAAAAAAAAAB==", false),
            ("AAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("", false),
        ] {
            let mut request = upgrade();
            request.headers_mut().unwrap().insert("sec-websocket-key", HeaderValue::from_static(key));
            assert_eq!(check(request).is_ok(), valid, "{key}");
        }
    }
}
