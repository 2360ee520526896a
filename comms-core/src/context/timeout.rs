//! How long the asker will wait, as text: `grpc-timeout` and `request-timeout`.
//!
//! Both readers fail closed: a limit that cannot be read must not become "no limit". Both writers round up, so
//! that the peer never gives up first on a value that rounding made.

use std::time::Duration;

use crate::Error;

/// The longest value: eight digits, as gRPC has it.
const LARGEST: u128 = 99_999_999;

/// Nanoseconds in each unit of `grpc-timeout`, the smallest first.
const UNITS: [(u128, char); 6] = [
    (1, 'n'),
    (1_000, 'u'),
    (1_000_000, 'm'),
    (1_000_000_000, 'S'),
    (60_000_000_000, 'M'),
    (3_600_000_000_000, 'H'),
];

/// Writes a `grpc-timeout`: exactly in the largest unit that can, or else rounded up in the smallest that
/// takes at most eight digits; at most `99999999H`.
///
/// ```
/// use comms_core::context::{grpc_timeout, parse_grpc_timeout};
/// use std::time::Duration;
/// assert_eq!(grpc_timeout(Duration::from_millis(1_500)), "1500m");
/// assert_eq!(parse_grpc_timeout(b"1500m")?, Duration::from_millis(1_500));
/// # Ok::<(), comms_core::Error>(())
/// ```
#[must_use]
pub fn grpc_timeout(left: Duration) -> String {
    let nanos = left.as_nanos();
    if nanos == 0 {
        return "0S".to_owned();
    }
    let exact = UNITS.iter().rposition(|(unit, _)| nanos.is_multiple_of(*unit)).unwrap_or_default();
    let fits = UNITS[exact..].iter().find(|(unit, _)| nanos.div_ceil(*unit) <= LARGEST);
    fits.map_or_else(|| format!("{LARGEST}H"), |(unit, letter)| format!("{}{letter}", nanos.div_ceil(*unit)))
}

/// Reads a `grpc-timeout`: one to eight ASCII digits and one of `H M S m u n`
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). Zero is read: it has passed.
///
/// # Errors
/// `Invalid` for anything else: a deadline that cannot be read must not become "no deadline".
pub fn parse_grpc_timeout(text: &[u8]) -> Result<Duration, Error> {
    let malformed =
        || Error::invalid("malformed grpc-timeout: one to eight digits and one of H, M, S, m, u, n");
    let (unit, digits) = text.split_last().ok_or_else(malformed)?;
    let value = number(digits).ok_or_else(malformed)?;
    match unit {
        b'H' => Ok(Duration::from_secs(value * 3_600)),
        b'M' => Ok(Duration::from_secs(value * 60)),
        b'S' => Ok(Duration::from_secs(value)),
        b'm' => Ok(Duration::from_millis(value)),
        b'u' => Ok(Duration::from_micros(value)),
        b'n' => Ok(Duration::from_nanos(value)),
        _ => Err(malformed()),
    }
}

/// Writes a `request-timeout`: milliseconds rounded up (`250ms`), or seconds where eight digits of
/// milliseconds do not hold it; at most 99,999,999 s.
#[must_use]
pub fn request_timeout(left: Duration) -> String {
    let (millis, seconds) = (left.as_nanos().div_ceil(1_000_000), left.as_nanos().div_ceil(1_000_000_000));
    if millis <= LARGEST { format!("{millis}ms") } else { format!("{}", seconds.min(LARGEST)) }
}

/// Reads a `request-timeout`: one to eight ASCII digits, seconds (`2`) or with `ms` milliseconds (`250ms`);
/// not zero.
///
/// HTTP has no standard header for this. The name and the plain seconds follow the usage of public APIs;
/// `ms` is what services among each other need.
///
/// # Errors
/// `Invalid` for anything else: a limit that cannot be read must not become "no limit".
pub fn parse_request_timeout(text: &[u8]) -> Result<Duration, Error> {
    let (digits, unit) = match text.strip_suffix(b"ms") {
        Some(digits) => (digits, Duration::from_millis as fn(u64) -> Duration),
        None => (text, Duration::from_secs as fn(u64) -> Duration),
    };
    number(digits).filter(|value| *value > 0).map(unit).ok_or_else(|| {
        Error::invalid(
            "malformed request-timeout: seconds (2) or milliseconds (250ms) of up to eight digits, not zero",
        )
    })
}

/// One to eight ASCII digits: no sign, no blank.
fn number(digits: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
