//! W3C Trace Context: the `traceparent` of one hop.
//!
//! Level 1 (<https://www.w3.org/TR/trace-context/>), and from Level 2 the flag that says a trace id is random
//! (<https://www.w3.org/TR/trace-context-2/#random-trace-id-flag>).

use std::fmt;

use super::trimmed;
use crate::clock::Clock;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The caller may have recorded this trace.
const SAMPLED: u8 = 1;
/// The right 7 bytes of the trace id are random: samplers may use them.
const RANDOM: u8 = 2;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The `traceparent` of one hop: which trace, which span, which flags.
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
    /// A new trace with random ids, sampled.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        let (trace_id, span_id) = (nonzero(clock.random()), nonzero(clock.random()));
        Self { trace_id, span_id, flags: SAMPLED | RANDOM }
    }

    /// A new span under this one, with the same flags.
    #[must_use]
    pub fn child(&self, clock: &Clock) -> Self {
        Self { span_id: nonzero(clock.random()), ..*self }
    }

    /// Reads a `traceparent`, blanks around it left aside; `None` for anything the standard calls invalid:
    /// upper-case digits, zero ids, version `ff`, a wrong length. A later version is read as version 00 with
    /// more behind a dash. Flags that are not defined yet are cleared, as section 3.2.2.5 demands.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = trimmed(text);
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        let [version] = hex(&known[..2])?;
        let rest_fits = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if !dashes || version == 0xff || !rest_fits {
            return None;
        }
        let (trace_id, span_id) = (hex(&known[3..35])?, hex(&known[36..52])?);
        let [flags] = hex(&known[53..])?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, flags: flags & (SAMPLED | RANDOM) })
    }

    /// The trace id as 32 hexadecimal digits: what logs show.
    #[must_use]
    pub fn trace_id(&self) -> String {
        let mut text = [0; 32];
        write_hex(&self.trace_id, &mut text);
        ascii(&text).to_owned()
    }

    /// The id of this hop's span as 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        let mut text = [0; 16];
        write_hex(&self.span_id, &mut text);
        ascii(&text).to_owned()
    }

    /// Whether the caller may have recorded this trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The header's value, version 00: written into a carrier without an allocation of its own.
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

/// Zero ids are invalid by the standard; one bit mends the one case in 2^64.
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

/// Hexadecimal digits and dashes are text.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Lower-case digits only, as the standard demands. What is no digit sets a high bit that the sum keeps.
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

/// The value of each lower-case hexadecimal digit; 255 for every other byte.
static VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
