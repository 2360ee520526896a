//! Durations in messages for people.

use std::time::Duration;

/// Formats `duration` for a message, rounded to two units at most: `250 ms`, `2.5 s`, `5 s`, `1 min 30 s`, `2 h 5 min`,
/// `3 d 4 h`.
///
/// Below a second it prints whole milliseconds, at least one; below a minute tenths of a second; above that the two
/// largest units. Half a unit is rounded up. The result is for people: give a program a number in a fixed unit.
///
/// ```
/// use comms_core::clock::rounded;
/// use std::time::Duration;
/// assert_eq!(rounded(Duration::from_nanos(4_999_999_970)), "5 s");
/// assert_eq!(rounded(Duration::from_millis(90_400)), "1 min 30 s");
/// ```
#[must_use]
pub fn rounded(duration: Duration) -> String {
    if duration.is_zero() {
        return "0 s".to_owned();
    }
    let millis = units(duration, 1_000_000).max(1);
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    let tenths = units(duration, 100_000_000);
    if tenths < 600 {
        return match tenths % 10 {
            0 => format!("{} s", tenths / 10),
            tenth => format!("{}.{tenth} s", tenths / 10),
        };
    }
    let seconds = units(duration, 1_000_000_000);
    if seconds < 3_600 {
        return two_units(seconds, 60, "min", "s");
    }
    let minutes = units(duration, 60_000_000_000);
    if minutes < 24 * 60 {
        return two_units(minutes, 60, "h", "min");
    }
    two_units(units(duration, 3_600_000_000_000), 24, "d", "h")
}

/// Returns the number of units of `nanos` in `duration`, rounded.
const fn units(duration: Duration, nanos: u128) -> u128 {
    (duration.as_nanos() + nanos / 2) / nanos
}

fn two_units(count: u128, per: u128, large: &str, small: &str) -> String {
    match count % per {
        0 => format!("{} {large}", count / per),
        rest => format!("{} {large} {rest} {small}", count / per),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_printed_in_at_most_two_units() {
        let table = [
            (0, "0 s"),
            (1, "1 ms"),
            (1_499_999, "1 ms"),
            (249_600_000, "250 ms"),
            (999_400_000, "999 ms"),
            (999_600_000, "1 s"),
            (1_234_000_000, "1.2 s"),
            (4_999_999_970, "5 s"),
            (59_940_000_000, "59.9 s"),
            (59_960_000_000, "1 min"),
            (90_400_000_000, "1 min 30 s"),
            (3_599_600_000_000, "1 h"),
            (7_500_000_000_000, "2 h 5 min"),
            (86_400_000_000_000, "1 d"),
            (273_600_000_000_000, "3 d 4 h"),
        ];
        for (nanos, text) in table {
            assert_eq!(rounded(Duration::from_nanos(nanos)), text, "{nanos}");
        }
        assert!(rounded(Duration::MAX).ends_with(" h"));
    }
}
