//! W3C Trace Context: the `tracestate`, where tracing systems keep what is their own.
//!
//! Section 3.3 of Level 1 (<https://www.w3.org/TR/trace-context/#tracestate-header>), as strictly as the
//! standard's own test suite reads it. A state that breaks a rule is dropped whole; the trace goes on.

use std::{fmt, sync::Arc};

use super::trimmed;
use crate::Error;

/// Characters that are carried on: the standard's least, so that others carry it too.
const CARRIED: usize = 512;
/// List members of one state.
const MEMBERS: usize = 32;
/// Members over this leave first when a state is longer than what is carried.
const LARGE: usize = 128;
/// A key, or a value.
const PART: usize = 256;
/// The longest valid state; what is longer is full of blanks, and not read.
const LONGEST: usize = MEMBERS * (PART + 1 + PART) + MEMBERS - 1;

/// The `tracestate` of a trace: up to 32 `key=value` members, the latest writer's first.
///
/// At most 512 characters are carried. A longer state loses whole members, never parts of one: first those over
/// 128 characters, then those at the end (section 3.3.1.5). Cheap to clone; never empty.
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
    /// Reads one header line; see [`TraceState::of_lines`].
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        Self::of_lines([line])
    }

    /// Reads all lines of one header, in their order. Empty members and blanks around members are left out.
    /// `None` where nothing is in it, and where one rule is broken: a key or value that is malformed or too
    /// long, a key that comes twice, more than 32 members, more than 16,447 bytes.
    #[must_use]
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut members = Vec::new();
        let mut size = 0;
        for line in lines {
            size += line.len();
            if size > LONGEST {
                return None;
            }
            for member in line.split(|&b| b == b',').map(trimmed).filter(|member| !member.is_empty()) {
                let (key, value) = std::str::from_utf8(member).ok()?.split_once('=')?;
                let fresh = members.iter().all(|(other, _)| *other != key);
                if !is_key(key) || !is_value(value) || !fresh || members.len() == MEMBERS {
                    return None;
                }
                members.push((key, value));
            }
        }
        Self::of_members(members)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// The members, the latest writer's first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|member| member.split_once('='))
    }

    /// The state after `key` wrote `value`: its member stands in front, its older one is gone. Of 32 members
    /// the last makes room, and so do others where the state grows too long to be carried.
    ///
    /// # Errors
    /// `Invalid` for a key or a value outside the standard's rules, and for a pair over 512 characters.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, Error> {
        let others = self.iter().filter(|(other, _)| *other != key).take(MEMBERS - 1);
        Self::led_by(key, value, others)
    }

    /// A state of one member.
    ///
    /// # Errors
    /// As [`TraceState::with`].
    pub fn new(key: &str, value: &str) -> Result<Self, Error> {
        Self::led_by(key, value, std::iter::empty())
    }

    fn led_by<'a>(
        key: &'a str,
        value: &'a str,
        others: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let length = key.len() + 1 + value.len();
        if !is_key(key) || !is_value(value) || length > CARRIED {
            return Err(Error::invalid(
                "a tracestate member is key=value: a key of a-z, 0-9, _ - * / that begins with a letter, or \
                 tenant@system; a value of 1 to 256 printable characters without comma, = or a blank at its end",
            ));
        }
        let room = CARRIED - length;
        let mut members = vec![(key, value)];
        members.extend(carried(others.collect(), room.saturating_sub(1)));
        Ok(Self(joined(&members).into()))
    }

    fn of_members(members: Vec<(&str, &str)>) -> Option<Self> {
        let members = carried(members, CARRIED);
        (!members.is_empty()).then(|| Self(joined(&members).into()))
    }

    /// The header's value: one line, without blanks around members.
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

/// What of `members` fits into `room`: the large ones leave first, then the last ones.
fn carried(mut members: Vec<Member<'_>>, room: usize) -> Vec<Member<'_>> {
    let total = |members: &[Member<'_>]| members.iter().map(size).sum::<usize>() + members.len().max(1) - 1;
    while total(&members) > room {
        let large = members.iter().rposition(|member| size(member) > LARGE);
        members.remove(large.unwrap_or(members.len() - 1));
    }
    members
}

fn joined(members: &[Member<'_>]) -> String {
    let mut text =
        String::with_capacity(CARRIED.min(members.iter().map(size).sum::<usize>() + members.len()));
    for (key, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend([key, "=", value]);
    }
    text
}

/// `simple-key`, or `tenant-id "@" system-id`.
fn is_key(key: &str) -> bool {
    let part = |part: &str, longest: usize, digit_first: bool| {
        let first = part.bytes().next();
        first.is_some_and(|b| b.is_ascii_lowercase() || (digit_first && b.is_ascii_digit()))
            && part.len() <= longest
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b))
    };
    match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
        None => part(key, PART, false),
    }
}

/// `0*255(chr) nblk-chr`.
fn is_value(value: &str) -> bool {
    let printable = |b: u8| (0x20..0x7f).contains(&b) && b != b',' && b != b'=';
    (1..=PART).contains(&value.len()) && value.bytes().all(printable) && !value.ends_with(' ')
}
