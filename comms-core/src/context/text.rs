//! Rules for the text of header values.

use std::sync::Arc;

/// The maximum length of a correlation id or a causation id, in bytes. A longer id is left out and never truncated.
pub const ID_LIMIT: usize = 256;

/// Returns whether `bytes` has 1 to [`ID_LIMIT`] bytes without ASCII control characters, so that the id fits into a log
/// line.
pub(super) fn is_id(bytes: &[u8]) -> bool {
    let fits = (1..=ID_LIMIT).contains(&bytes.len());
    // Without an early exit, the compiler vectorizes the loop. Invalid bytes are rare.
    fits && !bytes.iter().fold(false, |control, byte| control | byte.is_ascii_control())
}

/// Reads an id, or returns `None` if it is not UTF-8 or [`is_id`] is false.
pub(super) fn parse_id(bytes: &[u8]) -> Option<Arc<str>> {
    let fits = is_id(bytes);
    std::str::from_utf8(bytes).ok().filter(|_| fits).map(Arc::from)
}

/// Removes the optional whitespace that HTTP allows around a value (RFC 9110, section 5.6.3).
pub(super) fn trim_whitespace(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
