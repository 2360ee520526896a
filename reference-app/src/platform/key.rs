//! Keys of messages as text that an operator can read and send back.

use std::fmt::Write as _;

use comms_core::Error;

/// Before the bytes of a key that is no plain text.
const HEX: &str = "hex:";

/// `key` as text: itself where it is printable UTF-8, otherwise `hex:` and its bytes.
#[must_use]
pub fn show(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.starts_with(HEX) && !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.iter().fold(HEX.to_owned(), |mut shown, byte| {
            let _ = write!(shown, "{byte:02x}");
            shown
        }),
    }
}

/// The key that [`show`] gave `text` for.
///
/// # Errors
/// Returns `Invalid` if `hex:` is not followed by pairs of hexadecimal digits.
pub fn parse(text: &str) -> Result<Vec<u8>, Error> {
    let Some(digits) = text.strip_prefix(HEX) else { return Ok(text.as_bytes().to_vec()) };
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'))?;
        u8::from_str_radix(pair, 16).ok()
    });
    let key: Option<Vec<u8>> = pairs.collect();
    key.ok_or_else(|| Error::invalid(format!("`{HEX}` is followed by pairs of hexadecimal digits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_and_read_back() {
        for key in [&b"order-1"[..], b"", b"\xff\x00", b"hex:61", b"a\nb", "ключ".as_bytes()] {
            assert_eq!(parse(&show(key)).unwrap(), key, "{}", show(key));
        }
        assert_eq!((show(b"order-1"), show(b"\xff\x00")), ("order-1".into(), "hex:ff00".into()));
        for text in ["hex:6", "hex:+1", "hex:zz"] {
            parse(text).unwrap_err();
        }
    }
}
