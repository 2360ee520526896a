//! Timeout headers: the tables of grpc-go (`TestDecodeTimeout`, `TestEncodeDuration`), and tables for
//! `request-timeout`.

use super::*;

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn grpc_timeout_is_parsed_as_by_grpc_go() {
    let table = [
        ("00000001n", Some(Duration::from_nanos(1))),
        ("10u", Some(MICRO * 10)),
        ("00000010m", Some(MILLI * 10)),
        ("1234S", Some(SECOND * 1_234)),
        ("00000001M", Some(MINUTE)),
        ("09999999S", Some(SECOND * 9_999_999)),
        ("99999999S", Some(SECOND * 99_999_999)),
        ("99999999M", Some(MINUTE * 99_999_999)),
        ("2562047H", Some(HOUR * 2_562_047)),
        // Over the range of durations in Go.
        ("2562048H", Some(HOUR * 2_562_048)),
        ("99999999H", Some(HOUR * 99_999_999)),
        ("-1S", None),
        ("1234x", None),
        ("1234s", None),
        ("1234", None),
        ("1", None),
        ("", None),
        ("9a1S", None),
        ("0S", Some(Duration::ZERO)),
        ("00000000S", Some(Duration::ZERO)),
        ("000000000S", None),
        // Not in the tables of grpc-go.
        ("+5S", None),
        ("S", None),
        ("1 S", None),
        (" 1S", None),
        ("1S ", None),
        ("\u{661}S", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_grpc_timeout(text.as_bytes()).ok(), expected, "{text}");
    }
}

#[test]
fn grpc_timeout_is_formatted_as_by_grpc_go() {
    let nano = Duration::from_nanos(1);
    let table = [
        (Duration::ZERO, "0S"),
        (nano, "1n"),
        (nano * 99_999_999, "99999999n"),
        (MICRO, "1u"),
        (MICRO * 99_999_999, "99999999u"),
        (MILLI, "1m"),
        (MILLI * 99_999_999, "99999999m"),
        (SECOND, "1S"),
        (SECOND * 99_999_999, "99999999S"),
        (MINUTE, "1M"),
        (MINUTE * 99_999_999, "99999999M"),
        (HOUR, "1H"),
        (nano * 100_000_001, "100001u"),
        (MICRO * 100_000_001, "100001m"),
        (MILLI * 100_000_001, "100001S"),
        (SECOND * 100_000_000, "1666667M"),
        (MINUTE * 100_000_000, "1666667H"),
        (Duration::from_nanos(9_223_372_036_854_775_807), "2562048H"),
        (Duration::MAX, "99999999H"),
    ];
    for (left, text) in table {
        assert_eq!(format_grpc_timeout(left), text, "{left:?}");
    }
}

#[test]
fn request_timeout_is_parsed_strictly() {
    let table = [
        ("2", Some(SECOND * 2)),
        ("250ms", Some(MILLI * 250)),
        ("00000007", Some(SECOND * 7)),
        ("99999999", Some(SECOND * 99_999_999)),
        ("100000000", None),
        ("99999999999999", None),
        ("0", None),
        ("0ms", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("2s", None),
        ("2 ms", None),
        (" 2", None),
        ("ms", None),
        ("soon", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_request_timeout(text.as_bytes()).ok(), expected, "{text}");
    }
    let written = [(MICRO, "1ms"), (MILLI * 250, "250ms"), (MILLI * 99_999_999, "99999999ms")];
    for (left, text) in written {
        assert_eq!(format_request_timeout(left), text, "{left:?}");
    }
    assert_eq!(format_request_timeout(MILLI * 100_000_001), "100001");
    assert_eq!(format_request_timeout(Duration::MAX), "99999999");
}

proptest! {
    #[test]
    fn a_formatted_timeout_is_never_shorter_than_the_remaining_time(
        seconds in 0u64..99_999_999,
        nanos in 1u32..1_000_000_000,
    ) {
        let left = Duration::new(seconds, nanos);
        let by_grpc = parse_grpc_timeout(format_grpc_timeout(left).as_bytes()).unwrap();
        let by_http = parse_request_timeout(format_request_timeout(left).as_bytes()).unwrap();
        prop_assert!(by_grpc >= left && by_http >= left, "{by_grpc:?} {by_http:?}");
        // Rounding adds at most a thousandth, or one step of the unit.
        prop_assert!(by_grpc - left <= left / 1_000 + MICRO, "{by_grpc:?}");
        prop_assert!(by_http - left < SECOND, "{by_http:?}");
    }
}

#[test]
fn a_remaining_time_of_a_second_or_more_is_sent_in_milliseconds() {
    let clock = Clock::manual(SECOND);
    let nano = Duration::from_nanos(1);
    for (left, text) in [
        (SECOND * 5 - MICRO, "5S"),
        (MILLI * 1_500 + nano, "1501m"),
        (SECOND, "1S"),
        (SECOND - nano, "1000000u"),
        (MICRO * 1_234, "1234u"),
    ] {
        let deadline = Deadline::after(left, &clock);
        assert_eq!(deadline.timeout(Protocol::Grpc, &clock).as_deref(), Some(text), "{left:?}");
    }
}
