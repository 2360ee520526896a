//! Reads times of RFC 3339.

use std::time::{Duration, SystemTime};

use comms_core::Error;

/// Parses a time such as `2026-11-27T06:30:00Z` or `2026-11-27T09:30:00.5+03:00`. Returns the time since 1970.
///
/// # Errors
/// Returns `Invalid` if the text does not have this form, or if the time is before 1970.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let invalid = || Error::invalid("not a time in the format of RFC 3339, such as 2026-11-27T06:30:00Z");
    if text.ends_with('Z') {
        return parse_utc(text).ok_or_else(invalid);
    }
    let (local, offset) =
        text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)).ok_or_else(invalid)?;
    let (is_east, offset) = parse_offset(offset).ok_or_else(invalid)?;
    let local = parse_utc(&format!("{local}Z")).ok_or_else(invalid)?;
    let utc = if is_east { local.checked_sub(offset) } else { local.checked_add(offset) };
    utc.ok_or_else(invalid)
}

fn parse_utc(text: &str) -> Option<Duration> {
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// Returns whether the offset is east of Greenwich, and its size.
fn parse_offset(text: &str) -> Option<(bool, Duration)> {
    let is_east = match text.as_bytes()[0] {
        b'+' => true,
        b'-' => false,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let seconds = number(hours, 24)? * 3_600 + number(minutes, 60)? * 60;
    Some((is_east, Duration::from_secs(seconds)))
}

/// Returns the number of two digits, if it is below `limit`.
fn number(text: &str, limit: u64) -> Option<u64> {
    let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_offset() {
        let expected = Duration::from_secs(1_795_761_000);
        for text in ["2026-11-27T06:30:00Z", "2026-11-27T09:30:00+03:00", "2026-11-26T23:00:00-07:30"] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(parse("2026-11-27T06:30:00.25Z").unwrap(), expected + Duration::from_millis(250));
        assert_eq!(parse(&comms_core::clock::rfc3339(expected)).unwrap(), expected);
    }

    #[test]
    fn a_text_of_another_form_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-27",
            "2026-11-27T06:30:00",
            "2026-11-27 06:30:00Z",
            "2026-11-27T09:30:00 03:00",
            "2026-11-27T09:30:00+24:00",
            "2026-11-27T09:30:00+03:60",
            "2026-11-27T09:30:00++3:00",
            "2026-11-27T09:30:00+0300",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-27T06:30:00ю00:00",
            "yesterday",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
