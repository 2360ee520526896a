//! Checks of a request's head that apply to every route.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Problem, authority::is_host_and_port};

/// The maximum length of the request target, in bytes.
pub const URI_LIMIT: usize = 8 * 1024;
/// The maximum size of the header section, in bytes. Each field counts its name, its value and 4 bytes for `: ` and
/// the line end.
pub const HEADERS_LIMIT: usize = 16 * 1024;
/// The maximum number of header fields.
pub const FIELDS_LIMIT: usize = 100;

/// Refuses a request whose head is acceptable for no route: 414, 431, 400 for `Host` and `Authorization`, 501 for
/// `Transfer-Encoding` (RFC 9112, section 6.1), 415 for `Content-Encoding`.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match refusal(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refusal<B>(request: &axum::http::Request<B>) -> Option<Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    if authority + uri.path_and_query().map_or(0, |path| path.as_str().len()) > URI_LIMIT {
        let detail = format!("The request target may have at most {URI_LIMIT} bytes.");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "The URI is too long", detail));
    }
    if headers.len() > FIELDS_LIMIT || section(headers) > HEADERS_LIMIT {
        let detail =
            format!("The header section may have at most {HEADERS_LIMIT} bytes in {FIELDS_LIMIT} fields.");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(Problem::new(status, "headers-too-large", "The header section is too large", detail));
    }
    if let Some(detail) = wrong_host(request.version(), uri.authority(), headers) {
        let title = "The Host header is missing or malformed";
        return Some(Problem::new(StatusCode::BAD_REQUEST, "host", title, detail));
    }
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        let title = "A header is malformed";
        let detail = "Send the header Authorization only once.";
        return Some(Problem::new(StatusCode::BAD_REQUEST, "bad-header", title, detail));
    }
    if headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        let title = "The transfer coding is not supported";
        let detail =
            "Send the body with Content-Length, or with Transfer-Encoding: chunked and no other coding.";
        return Some(Problem::new(StatusCode::NOT_IMPLEMENTED, "transfer-encoding", title, detail));
    }
    is_encoded(headers).then(|| {
        let title = "The content encoding is not supported";
        let detail = "Send the body unencoded, without Content-Encoding.";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", title, detail)
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    })
}

fn section(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Returns why the host is not acceptable. RFC 9112, section 3.2, and RFC 9113, section 8.3.1, require one authority,
/// in `Host` or `:authority`. It is optional in HTTP/1.0.
fn wrong_host(version: Version, target: Option<&Authority>, headers: &HeaderMap) -> Option<&'static str> {
    let mut sent = headers.get_all(header::HOST).iter();
    let (first, second) = (sent.next(), sent.next());
    if second.is_some() {
        return Some("Send the header Host only once.");
    }
    if target.is_some_and(|target| !is_host_and_port(target)) {
        return Some("The request target must name a host name or address, with or without a port.");
    }
    let http2 = version >= Version::HTTP_2;
    match first {
        None if version <= Version::HTTP_10 || (http2 && target.is_some()) => None,
        None => Some("Send the header Host."),
        Some(value) if !is_host(value) => {
            Some("Host must be a host name or address, with or without a port.")
        }
        Some(value)
            if http2
                && target.is_some_and(|target| {
                    !value.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes())
                }) =>
        {
            Some("Host and :authority must be the same.")
        }
        Some(_) => None,
    }
}

fn is_host(value: &HeaderValue) -> bool {
    let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    authority.is_some_and(|authority| is_host_and_port(&authority))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| {
        let codings = value.to_str().unwrap_or("?").split(',').map(str::trim);
        codings.into_iter().any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn status(version: Version, uri: &str, headers: Fields<'_>) -> Option<u16> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(()).unwrap()).map(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let (h10, h11, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let absolute = "http://shop.example/";
        let table: [(Version, &str, Fields<'_>, Option<u16>); 20] = [
            (h11, "/", &[("host", "shop.example:8080")], None),
            (h11, "/", &[("host", "[::1]:80")], None),
            (h11, "/", &[], Some(400)),
            (h11, absolute, &[], Some(400)),
            (h11, absolute, &[("host", "shop.example")], None),
            (h11, "/", &[("host", "a"), ("host", "a")], Some(400)),
            (h11, "/", &[("host", "")], Some(400)),
            (h11, "/", &[("host", "a b")], Some(400)),
            (h11, "/", &[("host", "user@a")], Some(400)),
            (h11, "/", &[("host", "a/b")], Some(400)),
            (h11, "/", &[("host", "a:abc")], Some(400)),
            (h11, "/", &[("host", "a:99999")], Some(400)),
            (h11, "http://user:pw@shop.example/", &[("host", "shop.example")], Some(400)),
            (h2, "http://user@shop.example/", &[], Some(400)),
            (h2, "http://shop.example:99999/", &[], Some(400)),
            (h10, "/", &[], None),
            (h10, "/", &[("host", "a"), ("host", "b")], Some(400)),
            (h2, absolute, &[], None),
            (h2, absolute, &[("host", "other.example")], Some(400)),
            (h2, "/", &[], Some(400)),
        ];
        for (version, uri, headers, expected) in table {
            assert_eq!(status(version, uri, headers), expected, "{version:?} {uri} {headers:?}");
        }
    }

    #[test]
    fn the_size_of_a_head_is_bounded_and_authorization_is_single() {
        let get = |uri: &str, headers: Fields<'_>| {
            status(Version::HTTP_11, uri, &[&[("host", "a")], headers].concat())
        };
        assert_eq!(get(&format!("/{}", "x".repeat(URI_LIMIT - 1)), &[]), None);
        assert_eq!(get(&format!("/{}", "x".repeat(URI_LIMIT)), &[]), Some(414));
        assert_eq!(get("/", &[("x", &"x".repeat(HEADERS_LIMIT - 14))]), None);
        assert_eq!(get("/", &[("x", &"x".repeat(HEADERS_LIMIT - 13))]), Some(431));
        assert_eq!(get("/", &[("x", "1"); FIELDS_LIMIT - 1]), None);
        assert_eq!(get("/", &[("x", "1"); FIELDS_LIMIT]), Some(431));
        assert_eq!(get("/", &[("authorization", "Bearer a")]), None);
        assert_eq!(get("/", &[("authorization", "Bearer a"), ("authorization", "Bearer a")]), Some(400));
    }

    #[test]
    fn an_encoded_body_is_refused() {
        let table = [
            ("identity", None),
            ("Identity", None),
            ("", None),
            ("gzip", Some(415)),
            ("identity, gzip", Some(415)),
            ("unknown", Some(415)),
        ];
        for (coding, expected) in table {
            let headers = [("host", "a"), ("content-encoding", coding)];
            assert_eq!(status(Version::HTTP_11, "/", &headers), expected, "{coding}");
        }
        for (coding, expected) in
            [("chunked", None), ("Chunked", None), ("gzip, chunked", Some(501)), ("", Some(501))]
        {
            let headers = [("host", "a"), ("transfer-encoding", coding)];
            assert_eq!(status(Version::HTTP_11, "/", &headers), expected, "{coding}");
        }
    }
}
