//! The text of a failed assertion.

/// Fails the test with `text`.
#[track_caller]
#[expect(clippy::panic, reason = "a failed assertion of a test panics")]
pub(in crate::testing) fn fail(text: &str) -> ! {
    panic!("{text}")
}

/// Returns the items with their numbers, one in a line.
pub(in crate::testing) fn numbered(items: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = items.enumerate().map(|(n, item)| format!("  {}. {item}", n + 1)).collect();
    if lines.is_empty() { "  none".into() } else { lines.join("\n") }
}
