//! The token of a handshake.

use http::{HeaderMap, header};

/// The WebSocket subprotocol of the frames. A browser offers its token as a second subprotocol, `bearer.<token>`.
pub const SUBPROTOCOL: &str = "comms.v1";

/// Returns the token of a handshake, or `None` if the request has none.
///
/// The token is in `Authorization: Bearer <token>`, or in `Sec-WebSocket-Protocol: comms.v1, bearer.<token>` for
/// browsers, which cannot set the former. It is never in the URL, because URLs are logged. This function does not
/// verify the token.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("sec-websocket-protocol", "comms.v1, bearer.abc.def".parse()?);
/// assert_eq!(comms_ws::credentials(&headers), Some("abc.def"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn credentials(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let bearer =
        authorization.and_then(|v| v.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|v| v.to_str().ok());
    let mut offered = offered.flat_map(|v| v.split(',')).filter_map(|v| v.trim().strip_prefix("bearer."));
    bearer.map(|(_, token)| token.trim()).or_else(|| offered.next()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Pair = (&'static str, &'static str);

    fn headers(pairs: &[Pair]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_token_is_read_from_either_header() {
        let table: [(&[Pair], Option<&str>); 9] = [
            (&[("authorization", "Bearer a.b.c")], Some("a.b.c")),
            (&[("authorization", "bearer  a.b.c ")], Some("a.b.c")),
            (&[("authorization", "Basic a")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("sec-websocket-protocol", "comms.v1, bearer.x")], Some("x")),
            (&[("sec-websocket-protocol", "comms.v1"), ("sec-websocket-protocol", "bearer.x")], Some("x")),
            (&[("sec-websocket-protocol", "comms.v1, bearer.")], None),
            (&[("authorization", "Bearer a"), ("sec-websocket-protocol", "bearer.x")], Some("a")),
            (&[], None),
        ];
        for (pairs, token) in table {
            assert_eq!(credentials(&headers(pairs)), token, "{pairs:?}");
        }
    }
}
