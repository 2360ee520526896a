//! The check of text that arrives in pieces.

/// Checks the bytes of `text` from `from` on, and returns how many bytes of `text` are complete code points. The rest, at
/// most three bytes, may become a code point with the bytes that follow.
///
/// Returns `None` if no bytes that follow make the text valid UTF-8. `from` is what the previous call returned for a
/// prefix of `text`, or 0.
pub(super) fn check(text: &[u8], from: usize) -> Option<usize> {
    match std::str::from_utf8(text.get(from..)?) {
        Ok(_) => Some(text.len()),
        Err(error) if error.error_len().is_none() => Some(from + error.valid_up_to()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the result of a check of `text` in pieces of `size` bytes.
    fn in_pieces(text: &[u8], size: usize) -> Option<usize> {
        let mut valid = 0;
        for end in (size..text.len() + size).step_by(size) {
            valid = check(&text[..end.min(text.len())], valid)?;
        }
        Some(valid)
    }

    #[test]
    fn code_points_may_be_split_anywhere() {
        let text = "κόσμε \u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}".as_bytes();
        for size in 1..=text.len() {
            assert_eq!(in_pieces(text, size), Some(text.len()), "{size}");
        }
        assert_eq!(in_pieces(b"a\xf4\x8f\xbf", 1), Some(1), "incomplete");
    }

    #[test]
    fn invalid_bytes_are_refused_in_pieces_of_any_size() {
        let table: [&[u8]; 8] = [
            b"\x80",
            b"\xc0\x80",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xf5",
            b"\xff",
            b"abc\xce\xbaa\xce\xce",
        ];
        for text in table {
            for size in 1..=text.len() {
                assert_eq!(in_pieces(text, size), None, "{text:x?} {size}");
            }
        }
    }
}
