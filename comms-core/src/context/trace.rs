//! The `traceparent` of W3C Trace Context.
//!
//! Level 1 (<https://www.w3.org/TR/trace-context/>), with the flag for random trace ids of Level 2
//! (<https://www.w3.org/TR/trace-context-2/#random-trace-id-flag>).

use std::fmt;

use super::text::trim_whitespace;
use crate::clock::Clock;

/// The length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;
/// The flag `sampled`: the caller may have recorded this trace.
const SAMPLED: u8 = 1;
/// The flag `random-trace-id`: the last 7 bytes of the trace id are random, so samplers may use them.
const RANDOM: u8 = 2;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The `traceparent` of one hop: trace id, span id and flags.
///
/// ```
/// use comms_core::context::TraceContext;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(text.as_bytes()).unwrap();
/// assert_eq!(trace.to_string(), text);
/// assert!(trace.is_sampled());
/// assert!(TraceContext::parse(b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// Creates a trace with random ids. The flag `sampled` is set.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        let (trace_id, span_id) = (nonzero(clock.random()), nonzero(clock.random()));
        Self { trace_id, span_id, flags: SAMPLED | RANDOM }
    }

    /// Creates a child span: the same trace id and flags with a new span id.
    #[must_use]
    pub fn child(&self, clock: &Clock) -> Self {
        Self { span_id: nonzero(clock.random()), ..*self }
    }

    /// Parses a `traceparent`, with whitespace around it ignored.
    ///
    /// Returns `None` for a value that the standard calls invalid: upper-case digits, ids of zeros, version `ff`, a
    /// wrong length. A later version may have a dash and more text after the fields of version 00. Undefined flags are
    /// cleared, as section 3.2.2.5 requires.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = trim_whitespace(text);
        let (fields, rest) = text.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|&at| fields[at] == b'-');
        let [version] = hex(&fields[..2])?;
        let rest_fits = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if !dashes || version == 0xff || !rest_fits {
            return None;
        }
        let (trace_id, span_id) = (hex(&fields[3..35])?, hex(&fields[36..52])?);
        let [flags] = hex(&fields[53..])?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, flags: flags & (SAMPLED | RANDOM) })
    }

    /// Returns the trace id as 32 hexadecimal digits, the form in logs.
    #[must_use]
    pub fn trace_id(&self) -> String {
        let mut text = [0; 32];
        write_hex(&self.trace_id, &mut text);
        ascii(&text).to_owned()
    }

    /// Returns the span id of this hop as 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        let mut text = [0; 16];
        write_hex(&self.span_id, &mut text);
        ascii(&text).to_owned()
    }

    /// Returns whether the caller may have recorded this trace (the flag `sampled`).
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the header value in version 00, without an allocation.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut text = [b'-'; LENGTH];
        write_hex(&[0], &mut text[..2]);
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..]);
        text
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.to_bytes()))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Replaces an id of zeros, which the standard forbids, by 1.
fn nonzero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Returns hexadecimal digits and dashes as text.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Parses lower-case hexadecimal digits. A byte that is not a digit has the value 255, whose high bits stay in `seen`.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen < 16).then_some(bytes)
}

/// The value of each byte as a lower-case hexadecimal digit, or 255 if the byte is not one.
static VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
