//! The query of a list: the limit of a page, and the cursor at which it begins.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::platform::http::FieldError;

/// The number of entries of a page if the request names no limit.
pub(super) const DEFAULT_LIMIT: u32 = 20;

/// Returns the limit, and the entry before which the page begins. `decode` reads the entry from the bytes of the cursor.
/// Refuses an unknown or repeated parameter: a client that misspells `cursor` would read the first page again and again.
pub(super) fn parse_query<T>(
    query: &str,
    max_limit: u32,
    decode: fn(Vec<u8>) -> Option<T>,
) -> Result<(u32, Option<T>), Vec<FieldError>> {
    let (mut limit, mut before, mut errors) = (None, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let result = match name.as_ref() {
            "limit" => set_once(&mut limit, parse_limit(&value, max_limit)),
            "cursor" => set_once(&mut before, decode_cursor(&value, decode)),
            _ => Err("This parameter does not exist. The parameters are limit and cursor.".to_owned()),
        };
        if let Err(detail) = result {
            errors.push(FieldError::new(format!("/{}", name.replace('~', "~0").replace('/', "~1")), detail));
        }
    }
    match errors.is_empty() {
        true => Ok((limit.unwrap_or(DEFAULT_LIMIT), before)),
        false => Err(errors),
    }
}

/// Encodes the last entry of a page. The cursor is opaque: clients send it back and do not build one.
pub(super) fn encode_cursor(entry: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(entry)
}

fn set_once<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    match slot.replace(value?) {
        None => Ok(()),
        Some(_) => Err("Send this parameter once.".to_owned()),
    }
}

fn parse_limit(text: &str, max: u32) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| format!("Send a number from 1 to {max}."))
}

fn decode_cursor<T>(cursor: &str, decode: fn(Vec<u8>) -> Option<T>) -> Result<T, String> {
    let entry = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(decode);
    entry.ok_or_else(|| {
        "This is not a cursor of this list. Send `next` of the previous page unchanged.".to_owned()
    })
}
