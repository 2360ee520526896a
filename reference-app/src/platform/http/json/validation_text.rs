//! The texts of the validator, as sentences for clients.

/// Converts a message of [`garde`] to a sentence for a client. garde's messages on bounds (`lower than 1`) state the
/// violation, not the accepted values.
pub(super) fn sentence(message: &str) -> String {
    const BOUNDS: [(&str, &str); 4] = [
        ("lower than ", "The number must be at least "),
        ("greater than ", "The number must be at most "),
        ("length is lower than ", "The length must be at least "),
        ("length is greater than ", "The length must be at most "),
    ];
    let bound = BOUNDS.iter().find_map(|(prefix, text)| Some((message.strip_prefix(prefix)?, text)));
    let text = bound.map_or_else(|| capitalized(message), |(limit, text)| format!("{text}{limit}"));
    if text.ends_with('.') { text } else { text + "." }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_message_becomes_a_sentence() {
        for (message, text) in [
            ("lower than 1", "The number must be at least 1."),
            ("greater than 1000", "The number must be at most 1000."),
            ("length is lower than 1", "The length must be at least 1."),
            ("length is greater than 100", "The length must be at most 100."),
            ("only digits are allowed", "Only digits are allowed."),
            ("Done.", "Done."),
        ] {
            assert_eq!(sentence(message), text);
        }
    }
}
