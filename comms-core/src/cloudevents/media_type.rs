//! Media types (RFC 2046).

/// Returns the media type without parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns whether data of `content_type` is JSON: `application/json`, `text/json`, `…+json`, or no content type.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = essence(content_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// Returns whether `text` is `type/subtype` with parameters of visible ASCII (RFC 2046).
pub(super) fn is_media_type(text: &str) -> bool {
    let is_token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+'*%`|~".contains(&b))
    };
    let essence = essence(text);
    let has_type = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    has_type && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && text.trim() == text
}
