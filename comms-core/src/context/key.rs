//! What an idempotency key may be. [`crate::idempotency`] exports it.

/// The longest idempotency key that is accepted, in bytes.
pub const KEY_LIMIT: usize = 255;

/// Whether `key` is 1 to [`KEY_LIMIT`] printable ASCII characters, not all blank.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let printable = key.bytes().all(|b| (0x20..0x7f).contains(&b));
    !key.trim().is_empty() && key.len() <= KEY_LIMIT && printable
}
