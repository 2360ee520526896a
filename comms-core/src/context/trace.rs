//! W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use crate::Clock;

/// The `traceparent` of one hop: which trace, which span, which flags.
///
/// ```
/// use comms_core::TraceContext;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// assert_eq!(TraceContext::parse(text.as_bytes()).unwrap().to_string(), text);
/// assert!(TraceContext::parse(b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// A new trace, sampled.
    #[must_use]
    pub fn root(clock: &Clock) -> Self {
        Self { trace_id: nonzero(clock.random()), span_id: nonzero(clock.random()), flags: 1 }
    }

    /// A new span under this one.
    #[must_use]
    pub fn child(&self, clock: &Clock) -> Self {
        Self { span_id: nonzero(clock.random()), ..*self }
    }

    /// Reads a `traceparent`; `None` for anything the standard calls invalid: upper-case digits, zero
    /// ids, version `ff`, a wrong length. A later version is read as version 00 with more behind a dash.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let dashes = [2, 35, 52].iter().all(|&i| text.get(i) == Some(&b'-'));
        let [version] = hex(text.get(0..2)?)?;
        let rest_fits = text.len() == 55 || (version != 0 && text.get(55) == Some(&b'-'));
        if !dashes || version == 0xff || !rest_fits {
            return None;
        }
        let (trace_id, span_id) = (hex(&text[3..35])?, hex(&text[36..52])?);
        let [flags] = hex(&text[53..55])?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, flags: flags & 1 })
    }

    /// The trace id as 32 hexadecimal digits: what logs show.
    #[must_use]
    pub fn trace_id(&self) -> String {
        to_hex(&self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", to_hex(&self.trace_id), to_hex(&self.span_id), self.flags)
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

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Lower-case digits only, as the standard demands.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
