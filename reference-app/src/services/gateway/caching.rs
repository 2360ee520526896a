//! Responses that caches may store, and conditional requests for them (RFC 9110, RFC 9111).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::Error;
use serde::Serialize;

use crate::platform::http::Problem;

/// How long any cache may use a stored response without asking again, in seconds. The stock of an ad changes with each
/// order, so the time is short.
const MAX_AGE: u32 = 5;
/// The length of an entity tag without its quotes, in bytes of the digest.
const TAG_BYTES: usize = 16;

/// Returns `body` as JSON with a strong `ETag` and `Cache-Control`, or 304 without a body if a tag of `If-None-Match` in
/// `request` is that of the body.
pub(super) fn cacheable(request: &HeaderMap, body: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(body).map_err(Error::internal)?;
    let tag = entity_tag(&body);
    let is_known = is_none_match_of(request, &tag);
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, format!("public, max-age={MAX_AGE}"))];
    Ok(match is_known {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
    })
}

/// Returns the entity tag of `body`: equal bytes have equal tags, in every process.
fn entity_tag(body: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in &digest(&SHA256, body).as_ref()[..TAG_BYTES] {
        let _ = write!(tag, "{byte:02x}"); // Writing to a String does not fail.
    }
    tag.push('"');
    tag
}

/// Returns whether `If-None-Match` is `*` or lists `tag`. RFC 9110, section 13.1.2: by weak comparison, in which `W/"a"`
/// equals `"a"`.
fn is_none_match_of(request: &HeaderMap, tag: &str) -> bool {
    let mut values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.trim() == "*" || lists(value, tag))
}

/// Returns whether the list `value` of entity tags has `tag`. A comma may be part of a tag, so the list is read tag by tag.
/// The rest of a list behind a part that is no tag is not read.
fn lists(value: &str, tag: &str) -> bool {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        rest = rest.strip_prefix("W/").unwrap_or(rest);
        // The tag from its first quote to its second one.
        let Some(end) = rest.strip_prefix('"').and_then(|opaque| opaque.find('"')) else { return false };
        let (listed, behind) = rest.split_at(end + 2);
        if listed == tag {
            return true;
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn answer(if_none_match: &[&'static str], body: &str) -> Response {
        let mut request = HeaderMap::new();
        for value in if_none_match {
            request.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
        }
        cacheable(&request, &body).unwrap()
    }

    #[test]
    fn a_body_that_the_client_has_is_not_sent_again() {
        let first = answer(&[], "a bike");
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], "application/json");
        let tag: &'static str = first.headers()[header::ETAG].to_str().unwrap().to_owned().leak();
        assert!(tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
        let weak: &'static str = format!("\"x,y\" , W/{tag}").leak();
        for known in [&[tag][..], &["*"], &[weak], &["\"other\"", tag]] {
            let answer = answer(known, "a bike");
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known:?}");
            for name in [header::ETAG, header::CACHE_CONTROL] {
                assert_eq!(answer.headers()[&name], first.headers()[&name], "{known:?}");
            }
            assert!(!answer.headers().contains_key(header::CONTENT_TYPE), "{known:?}");
        }
        let unquoted: &'static str = tag.trim_matches('"').to_owned().leak();
        let inside: &'static str = format!("\"x,{unquoted},y\"").leak();
        for other in [&[][..], &["\"other\""], &[unquoted], &["", ","], &["\"a,*,b\""], &[inside], &["\"*"]] {
            assert_eq!(answer(other, "a bike").status(), StatusCode::OK, "{other:?}");
        }
        assert_eq!(answer(&[tag], "a red bike").status(), StatusCode::OK, "the body has changed");
    }
}
