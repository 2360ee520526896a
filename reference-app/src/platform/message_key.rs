//! Message keys as text that an operator can read and send back.

use std::fmt::Write as _;

use comms_core::Error;

/// The prefix of a key that is shown as hexadecimal bytes.
const HEX_PREFIX: &str = "hex:";

/// Returns `key` as text: unchanged if it is printable UTF-8, otherwise `hex:` and its bytes.
#[must_use]
pub fn to_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.starts_with(HEX_PREFIX) && !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.iter().fold(HEX_PREFIX.to_owned(), |mut shown, byte| {
            let _ = write!(shown, "{byte:02x}");
            shown
        }),
    }
}

/// Returns the key that [`to_text`] converts to `text`.
///
/// # Errors
/// Returns `Invalid` if `hex:` is not followed by pairs of hexadecimal digits.
pub fn from_text(text: &str) -> Result<Vec<u8>, Error> {
    let Some(digits) = text.strip_prefix(HEX_PREFIX) else { return Ok(text.as_bytes().to_vec()) };
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'))?;
        u8::from_str_radix(pair, 16).ok()
    });
    let key: Option<Vec<u8>> = pairs.collect();
    key.ok_or_else(|| {
        Error::invalid(format!("the key must have pairs of hexadecimal digits after `{HEX_PREFIX}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_conversion_to_text_and_back() {
        for key in [&b"order-1"[..], b"", b"\xff\x00", b"hex:61", b"a\nb", "ключ".as_bytes()] {
            assert_eq!(from_text(&to_text(key)).unwrap(), key, "{}", to_text(key));
        }
        assert_eq!((to_text(b"order-1"), to_text(b"\xff\x00")), ("order-1".into(), "hex:ff00".into()));
        for text in ["hex:6", "hex:+1", "hex:zz"] {
            from_text(text).unwrap_err();
        }
    }
}
