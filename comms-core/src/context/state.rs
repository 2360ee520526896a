//! The `tracestate` of W3C Trace Context: vendor-specific data of a trace.
//!
//! The parser follows section 3.3 of Level 1 (<https://www.w3.org/TR/trace-context/#tracestate-header>) as strictly as
//! the test suite of the standard. A state that breaks a rule is dropped as a whole; the trace continues.

use std::{fmt, sync::Arc};

use super::text::trim_whitespace;
use crate::Error;

/// The maximum size of a state that is propagated, in characters: the minimum that the standard requires, so that other
/// systems propagate the state as well.
const PROPAGATED_LIMIT: usize = 512;
/// The maximum number of members of a state.
const MEMBERS_LIMIT: usize = 32;
/// The size in characters over which a member is dropped first if a state is too long to be propagated.
const LARGE_MEMBER: usize = 128;
/// The maximum length of a key or a value, in characters.
const PART_LIMIT: usize = 256;
/// The size of the longest valid state, in bytes. Longer input has mostly whitespace, and is refused unread.
const STATE_LIMIT: usize = MEMBERS_LIMIT * (PART_LIMIT + 1 + PART_LIMIT) + MEMBERS_LIMIT - 1;

/// The `tracestate` of a trace: 1 to 32 members `key=value`, with the most recent writer's member first.
///
/// At most 512 characters are propagated. A longer state loses whole members: first those over 128 characters, then
/// those at the end (section 3.3.1.5). Clones are cheap.
///
/// ```
/// use comms_core::context::TraceState;
/// let state = TraceState::parse(b"congo=t61rcWkgMzE , rojo=00f067aa0ba902b7").unwrap();
/// assert_eq!(state.get("rojo"), Some("00f067aa0ba902b7"));
/// let next = state.with("rojo", "1f")?;
/// assert_eq!(next.as_str(), "rojo=1f,congo=t61rcWkgMzE");
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// Parses a header of one line, as [`TraceState::of_lines`] does.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        Self::of_lines([line])
    }

    /// Parses all lines of a header, in their order. Empty members, and whitespace around members, are ignored.
    ///
    /// Returns `None` if there is no member, if a key or value is malformed or over 256 characters, if a key occurs
    /// twice, for more than 32 members, and for more than 16,447 bytes.
    #[must_use]
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut members = Vec::new();
        let mut size = 0;
        for line in lines {
            size += line.len();
            if size > STATE_LIMIT {
                return None;
            }
            for member in line.split(|&b| b == b',').map(trim_whitespace).filter(|member| !member.is_empty())
            {
                let (key, value) = std::str::from_utf8(member).ok()?.split_once('=')?;
                let is_new = members.iter().all(|(other, _)| *other != key);
                if !is_key(key) || !is_value(value) || !is_new || members.len() == MEMBERS_LIMIT {
                    return None;
                }
                members.push((key, value));
            }
        }
        let members = fitting(members, PROPAGATED_LIMIT);
        (!members.is_empty()).then(|| Self(join(&members).into()))
    }

    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// Returns the members as (key, value), with the most recent writer's member first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|member| member.split_once('='))
    }

    /// Returns the state with `key=value` as its first member, in place of an older member of `key`.
    ///
    /// Other members are dropped if the state would have more than 32 members or be too long to be propagated.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the key or the value is malformed, or if
    /// `key=value` is over 512 characters.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, Error> {
        let others = self.iter().filter(|(other, _)| *other != key).take(MEMBERS_LIMIT - 1);
        Self::with_first(key, value, others)
    }

    /// Creates a state with one member.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the key or the value is malformed, or if
    /// `key=value` is over 512 characters.
    pub fn new(key: &str, value: &str) -> Result<Self, Error> {
        Self::with_first(key, value, std::iter::empty())
    }

    fn with_first<'a>(
        key: &'a str,
        value: &'a str,
        others: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let length = key.len() + 1 + value.len();
        if !is_key(key) || !is_value(value) || length > PROPAGATED_LIMIT {
            return Err(Error::invalid(
                "a tracestate member must be key=value of at most 512 characters: a key of a-z, 0-9, _ - * / that \
                 begins with a letter, or tenant@system; a value of 1 to 256 printable ASCII characters without \
                 comma, = or a space at its end",
            ));
        }
        let room = PROPAGATED_LIMIT - length;
        let mut members = vec![(key, value)];
        members.extend(fitting(others.collect(), room.saturating_sub(1)));
        Ok(Self(join(&members).into()))
    }

    /// Returns the header value: one line, without whitespace around members.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

type Member<'a> = (&'a str, &'a str);

fn size((key, value): &Member<'_>) -> usize {
    key.len() + 1 + value.len()
}

/// Drops members until the rest fits into `room` characters: large members first, then the last ones.
fn fitting(mut members: Vec<Member<'_>>, room: usize) -> Vec<Member<'_>> {
    let total = |members: &[Member<'_>]| members.iter().map(size).sum::<usize>() + members.len().max(1) - 1;
    while total(&members) > room {
        let large = members.iter().rposition(|member| size(member) > LARGE_MEMBER);
        members.remove(large.unwrap_or(members.len() - 1));
    }
    members
}

fn join(members: &[Member<'_>]) -> String {
    let mut text =
        String::with_capacity(PROPAGATED_LIMIT.min(members.iter().map(size).sum::<usize>() + members.len()));
    for (key, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend([key, "=", value]);
    }
    text
}

/// Returns whether `key` is a `simple-key` or `tenant-id "@" system-id` of the standard's grammar.
fn is_key(key: &str) -> bool {
    let part = |part: &str, longest: usize, digit_first: bool| {
        let first = part.bytes().next();
        first.is_some_and(|b| b.is_ascii_lowercase() || (digit_first && b.is_ascii_digit()))
            && part.len() <= longest
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b))
    };
    match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
        None => part(key, PART_LIMIT, false),
    }
}

/// Returns whether `value` is `0*255(chr) nblk-chr` of the standard's grammar.
fn is_value(value: &str) -> bool {
    let printable = |b: u8| (0x20..0x7f).contains(&b) && b != b',' && b != b'=';
    (1..=PART_LIMIT).contains(&value.len()) && value.bytes().all(printable) && !value.ends_with(' ')
}
