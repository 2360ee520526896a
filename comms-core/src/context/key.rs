//! The rule for idempotency keys. [`crate::idempotency`] exports it.

/// The maximum length of an idempotency key, in bytes.
pub const KEY_LIMIT: usize = 255;

/// Returns whether `key` is a valid idempotency key: 1 to [`KEY_LIMIT`] printable ASCII characters, not all spaces.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let printable = key.bytes().all(|b| (0x20..0x7f).contains(&b));
    !key.trim().is_empty() && key.len() <= KEY_LIMIT && printable
}
