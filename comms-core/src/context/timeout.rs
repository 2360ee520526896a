//! The formats of the headers `grpc-timeout` and `request-timeout`.
//!
//! Both parsers return an error for malformed text, so that it never counts as "no timeout". Both formatters round up,
//! so that rounding never makes a peer give up before its caller does.

use std::time::Duration;

use crate::Error;

/// The largest number in a header: eight digits, as gRPC defines.
const LARGEST: u128 = 99_999_999;

/// The units of `grpc-timeout` with their length in nanoseconds, the smallest first.
const UNITS: [(u128, char); 6] = [
    (1, 'n'),
    (1_000, 'u'),
    (1_000_000, 'm'),
    (1_000_000_000, 'S'),
    (60_000_000_000, 'M'),
    (3_600_000_000_000, 'H'),
];

/// Formats a duration as a `grpc-timeout`.
///
/// The value is exact, in the largest unit that represents it, if that takes at most eight digits. Otherwise the value
/// is rounded up in the smallest unit that takes at most eight digits. The largest value is `99999999H`.
///
/// ```
/// use comms_core::context::{format_grpc_timeout, parse_grpc_timeout};
/// use std::time::Duration;
/// assert_eq!(format_grpc_timeout(Duration::from_millis(1_500)), "1500m");
/// assert_eq!(parse_grpc_timeout(b"1500m")?, Duration::from_millis(1_500));
/// # Ok::<(), comms_core::Error>(())
/// ```
#[must_use]
pub fn format_grpc_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    if nanos == 0 {
        return "0S".to_owned();
    }
    let exact = UNITS.iter().rposition(|(unit, _)| nanos.is_multiple_of(*unit)).unwrap_or_default();
    let fits = UNITS[exact..].iter().find(|(unit, _)| nanos.div_ceil(*unit) <= LARGEST);
    fits.map_or_else(|| format!("{LARGEST}H"), |(unit, letter)| format!("{}{letter}", nanos.div_ceil(*unit)))
}

/// Parses a `grpc-timeout`: one to eight ASCII digits and one of `H M S m u n`
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). Zero is valid: the deadline has passed.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other text.
pub fn parse_grpc_timeout(text: &[u8]) -> Result<Duration, Error> {
    let malformed =
        || Error::invalid("malformed grpc-timeout: send one to eight digits and one of H, M, S, m, u, n");
    let (unit, digits) = text.split_last().ok_or_else(malformed)?;
    let value = parse_digits(digits).ok_or_else(malformed)?;
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

/// Formats a duration as a `request-timeout`: milliseconds rounded up (`250ms`), or seconds rounded up if the
/// milliseconds have more than eight digits. The largest value is 99,999,999 s.
#[must_use]
pub fn format_request_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let (millis, seconds) = (nanos.div_ceil(1_000_000), nanos.div_ceil(1_000_000_000));
    if millis <= LARGEST { format!("{millis}ms") } else { format!("{}", seconds.min(LARGEST)) }
}

/// Parses a `request-timeout`: one to eight ASCII digits, in seconds (`2`) or, with the suffix `ms`, in milliseconds
/// (`250ms`).
///
/// HTTP has no standard header for a timeout. The name and the seconds follow the usage of public APIs. Calls between
/// services need milliseconds.
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for zero and for any other text.
pub fn parse_request_timeout(text: &[u8]) -> Result<Duration, Error> {
    let (digits, unit) = match text.strip_suffix(b"ms") {
        Some(digits) => (digits, Duration::from_millis as fn(u64) -> Duration),
        None => (text, Duration::from_secs as fn(u64) -> Duration),
    };
    parse_digits(digits).filter(|value| *value > 0).map(unit).ok_or_else(|| {
        Error::invalid(
            "malformed request-timeout: send seconds (2) or milliseconds (250ms) of one to eight digits, not zero",
        )
    })
}

/// Parses one to eight ASCII digits, without sign and whitespace.
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
