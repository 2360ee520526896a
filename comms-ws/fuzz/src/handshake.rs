//! Targets for the headers of a handshake.

use comms_ws::{SUBPROTOCOL, credentials, testing};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, request::Parts};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const EXTENSIONS: &str = "sec-websocket-extensions";
/// The responses that accept compression.
const ACCEPTED: [&str; 2] = [
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
];

/// The input is lines of headers, `name: value`, after a line with the method and the version of HTTP.
pub(super) fn handshake(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (method, version) = first.split_once(' ').unwrap_or_default();
    let version = match version {
        "1.0" => Version::HTTP_10,
        "2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let Ok(request) = Request::builder().method(method).version(version).body(()) else { return };
    let (mut request, ()) = request.into_parts();
    for line in lines.take(32) {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            request.headers.append(name, value);
        }
    }
    check_credentials(&request.headers);
    match testing::handshake(&request) {
        Ok(response) => check(&request, &response),
        Err(status) => assert!(matches!(status.as_u16(), 400 | 405 | 426 | 501), "{status}"),
    }
}

fn check_credentials(headers: &HeaderMap) {
    let Some(token) = credentials(headers) else { return };
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(token));
    let sources = ["authorization", "sec-websocket-protocol"].map(|name| headers.get_all(name));
    assert!(!token.is_empty() && sources.into_iter().flatten().any(holds), "{token}");
}

/// Checks the response to a request that was accepted. The input has no extended CONNECT, so it is one of HTTP/1.1.
fn check(request: &Parts, response: &Response<()>) {
    let single = |name: &str| {
        let mut values = request.headers.get_all(name).into_iter();
        values.next().filter(|_| values.next().is_none()).expect("the header occurs once")
    };
    let offers = |name: &str, token: &str| {
        let mut values = request.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.to_ascii_lowercase().contains(token))
    };
    assert_eq!((request.method.as_str(), request.version), ("GET", Version::HTTP_11));
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert!(offers("connection", "upgrade") && offers("upgrade", "websocket"));
    assert_eq!(single("sec-websocket-version"), "13");
    let accept = derive_accept_key(single("sec-websocket-key").as_bytes());
    assert_eq!(response.headers()["sec-websocket-accept"], accept);
    if let Some(protocol) = response.headers().get("sec-websocket-protocol") {
        assert!(protocol == SUBPROTOCOL && offers("sec-websocket-protocol", SUBPROTOCOL));
    }
    if let Some(extension) = response.headers().get(EXTENSIONS) {
        assert!(ACCEPTED.iter().any(|accepted| extension == accepted));
        assert!(offers(EXTENSIONS, "permessage-deflate"));
    }
}

/// What a handshake says about extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Accepted(HeaderValue),
    Declined,
    Malformed,
}

/// Negotiates with one header for each value.
fn negotiate(values: impl IntoIterator<Item = HeaderValue>) -> Answer {
    let request = Request::get("/")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY);
    let (mut request, ()) = request.body(()).expect("a request").into_parts();
    for value in values {
        request.headers.append(EXTENSIONS, value);
    }
    match testing::handshake(&request) {
        Ok(response) => {
            response.headers().get(EXTENSIONS).cloned().map_or(Answer::Declined, Answer::Accepted)
        }
        Err(status) => {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            Answer::Malformed
        }
    }
}

/// The input is the values of the header, one a line.
pub(super) fn extensions(data: &[u8]) {
    let lines = data.split(|&byte| byte == b'\n').take(16);
    let values: Vec<HeaderValue> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let answer = negotiate(values.clone());
    let other = HeaderValue::from_static("x; y=\"1\"");
    let deflate = HeaderValue::from_static("permessage-deflate");
    let before = negotiate(std::iter::once(other.clone()).chain(values.clone()));
    let after = negotiate(values.iter().cloned().chain([other]));
    assert_eq!([&before, &after], [&answer; 2], "another extension changes nothing");
    let with_offer = negotiate(values.iter().cloned().chain([deflate]));
    match &answer {
        Answer::Accepted(response) => {
            assert!(ACCEPTED.iter().any(|accepted| response == accepted), "{response:?}");
            assert_eq!(with_offer, answer, "the first offer counts");
        }
        Answer::Declined => assert_eq!(with_offer, Answer::Accepted(HeaderValue::from_static(ACCEPTED[0]))),
        Answer::Malformed => return assert_eq!(with_offer, answer),
    }
    // One header with all values means the same (RFC 9110, section 5.3).
    let joined = values.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
    assert_eq!(negotiate(HeaderValue::from_bytes(&joined)), answer);
    // Names of extensions and parameters do not depend on the case. No value that is accepted has a letter.
    let lower = values
        .iter()
        .filter_map(|value| HeaderValue::from_bytes(&value.as_bytes().to_ascii_lowercase()).ok());
    assert_eq!(negotiate(lower), answer);
}
