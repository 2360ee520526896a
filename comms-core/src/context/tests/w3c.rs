//! The cases of the W3C trace-context test suite, as tables.

use super::*;

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "00-12345678901234567890123456789012-1234567890123456-01";

fn read_trace(headers: &[(&'static str, &str)]) -> Context {
    let mut map = http::HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let from_http = Context::of_trace(&map, &clock());
    let list: Headers = headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
    let from_headers = Context::of_trace(&list, &clock());
    assert_eq!(from_http, from_headers, "the result is the same for every header type");
    from_http
}

#[test]
fn traceparent_is_parsed_as_the_suite_requires() {
    let table = [
        (PARENT, true),
        // Version 00 has a fixed length. Later versions may have a dash and more text.
        ("00-12345678901234567890123456789012-1234567890123456-01.", false),
        ("00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like", false),
        ("cc-12345678901234567890123456789012-1234567890123456-01", true),
        ("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like", true),
        ("cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like", false),
        ("ff-12345678901234567890123456789012-1234567890123456-01", false),
        (".0-12345678901234567890123456789012-1234567890123456-01", false),
        ("0.-12345678901234567890123456789012-1234567890123456-01", false),
        ("000-12345678901234567890123456789012-1234567890123456-01", false),
        ("0000-12345678901234567890123456789012-1234567890123456-01", false),
        ("0-12345678901234567890123456789012-1234567890123456-01", false),
        ("00-00000000000000000000000000000000-1234567890123456-01", false),
        ("00-.2345678901234567890123456789012-1234567890123456-01", false),
        ("00-1234567890123456789012345678901.-1234567890123456-01", false),
        ("00-123456789012345678901234567890123-1234567890123456-01", false),
        ("00-1234567890123456789012345678901-1234567890123456-01", false),
        ("00-12345678901234567890123456789012-0000000000000000-01", false),
        ("00-12345678901234567890123456789012-.234567890123456-01", false),
        ("00-12345678901234567890123456789012-123456789012345.-01", false),
        ("00-12345678901234567890123456789012-12345678901234567-01", false),
        ("00-12345678901234567890123456789012-123456789012345-01", false),
        ("00-12345678901234567890123456789012-1234567890123456-.0", false),
        ("00-12345678901234567890123456789012-1234567890123456-0.", false),
        ("00-12345678901234567890123456789012-1234567890123456-001", false),
        ("00-12345678901234567890123456789012-1234567890123456-1", false),
        (" 00-12345678901234567890123456789012-1234567890123456-01", true),
        ("\t00-12345678901234567890123456789012-1234567890123456-01", true),
        ("00-12345678901234567890123456789012-1234567890123456-01 ", true),
        ("00-12345678901234567890123456789012-1234567890123456-01\t", true),
        ("\t 00-12345678901234567890123456789012-1234567890123456-01 \t", true),
        // Not in the suite.
        ("00-1234567890123456789012345678901A-1234567890123456-01", false),
        ("00-12345678901234567890123456789012-123456789012345F-01", false),
        ("CC-12345678901234567890123456789012-1234567890123456-01", false),
        ("00_12345678901234567890123456789012-1234567890123456-01", false),
        ("00 -12345678901234567890123456789012-1234567890123456-01", false),
        ("00", false),
        ("", false),
    ];
    for (text, good) in table {
        let trace = read_trace(&[("traceparent", text)]).trace.expect("every context has a trace");
        assert_eq!(trace.trace_id() == TRACE, good, "{text}");
        assert_ne!(trace.span_id(), "1234567890123456", "{text}");
    }
}

#[test]
fn two_traceparents_are_ignored() {
    let other = "00-12345678901234567890123456789011-1234567890123456-01";
    let trace_id = read_trace(&[("traceparent", other), ("traceparent", PARENT)]).trace.unwrap().trace_id();
    assert!(trace_id != TRACE && trace_id != other[3..35], "{trace_id}");
    assert_ne!(read_trace(&[("trace-parent", PARENT)]).trace.unwrap().trace_id(), TRACE);
}

#[test]
fn defined_flags_are_kept_and_undefined_flags_cleared() {
    for (sent, kept) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("04", "00"), ("ff", "03")] {
        for version in ["00", "cc"] {
            let text = format!("{version}-{TRACE}-1234567890123456-{sent}");
            let trace = TraceContext::parse(text.as_bytes()).unwrap();
            assert_eq!(trace.to_string(), format!("00-{TRACE}-1234567890123456-{kept}"));
            assert_eq!(trace.is_sampled(), kept.ends_with(['1', '3']), "{sent}");
            assert!(trace.child(&clock()).to_string().ends_with(kept));
        }
    }
}

#[test]
fn tracestate_is_parsed_as_the_suite_requires() {
    let all =
        " !\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
    let simple = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/={all}");
    let tenant = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/={all}");
    let member = |i: usize| format!("bar{i:02}={i:02}");
    let full = (1..=32).map(member).collect::<Vec<_>>().join(",");
    let over = format!("{full},{}", member(33));
    let tens: Vec<_> =
        (0..3).map(|i| (i * 10 + 1..=i * 10 + 10).map(member).collect::<Vec<_>>().join(",")).collect();
    let (z256, z257) = (format!("{}=1", "z".repeat(256)), format!("{}=1", "z".repeat(257)));
    let long = format!("{}@{}=1", "t".repeat(241), "v".repeat(14));
    let long_tenant = format!("{}@v=1", "t".repeat(242));
    let long_system = format!("t@{}=1", "v".repeat(15));
    let v256 = format!("foo={}", "v".repeat(256));
    let v257 = format!("foo={}", "v".repeat(257));
    let table: &[(&[&str], Option<&str>)] = &[
        (&["foo=1,bar=2"], Some("foo=1,bar=2")),
        (&[""], None),
        (&["foo=1", ""], Some("foo=1")),
        (&["", "foo=1"], Some("foo=1")),
        (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3")),
        (&["foo=1,foo=1"], None),
        (&["foo=1,foo=2"], None),
        (&["foo=1", "foo=1"], None),
        (&["foo=1", "foo=2"], None),
        (&[&simple], Some(&simple)),
        (&[&tenant], Some(&tenant)),
        (&["foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
        (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], Some("foo=1,bar=2,baz=3")),
        (&[" foo=1"], Some("foo=1")),
        (&["\tfoo=1"], Some("foo=1")),
        (&["foo=1 "], Some("foo=1")),
        (&["foo=1\t"], Some("foo=1")),
        (&["\t foo=1 \t"], Some("foo=1")),
        (&["foo =1"], None),
        (&["FOO=1"], None),
        (&["foo.bar=1"], None),
        (&["foo@=1,bar=2"], None),
        (&["@foo=1,bar=2"], None),
        (&["foo@@bar=1,bar=2"], None),
        (&["foo@bar@baz=1,bar=2"], None),
        (&[&tens[0], &tens[1], &tens[2], "bar31=31,bar32=32"], Some(&full)),
        (&[&tens[0], &tens[1], &tens[2], "bar31=31,bar32=32,bar33=33"], None),
        (&[&over], None),
        (&["foo=1", &z256], Some(&format!("foo=1,{z256}"))),
        (&["foo=1", &z257], None),
        (&["foo=1", &long], Some(&format!("foo=1,{long}"))),
        (&["foo=1", &long_tenant], None),
        (&["foo=1", &long_system], None),
        (&["foo=bar=baz"], None),
        (&["foo=,bar=3"], None),
        // Not in the suite: other rules of the grammar.
        (&["foo= 1"], Some("foo= 1")),
        (&["foo=1,,bar=2, ,"], Some("foo=1,bar=2")),
        (&["foo"], None),
        (&["=1"], None),
        (&["1foo=1"], None),
        (&["1foo@bar=1"], Some("1foo@bar=1")),
        (&["foo@1bar=1"], None),
        (&["foo=\u{e9}"], None),
        (&[&v256], Some(&v256)),
        (&[&v257], None),
    ];
    for (lines, expected) in table {
        let mut headers = vec![("traceparent", PARENT)];
        headers.extend(lines.iter().map(|line| ("tracestate", *line)));
        let context = read_trace(&headers);
        assert_eq!(context.tracestate.as_ref().map(TraceState::as_str), *expected, "{lines:?}");
        assert_eq!(context.trace.unwrap().trace_id(), TRACE, "the trace continues: {lines:?}");
        assert_eq!(
            read_trace(&headers[1..]).tracestate,
            None,
            "a tracestate without traceparent is ignored: {lines:?}"
        );
    }
    assert_eq!(read_trace(&[("traceparent", PARENT), ("trace-state", "foo=1")]).tracestate, None);
}

#[test]
fn a_long_tracestate_loses_large_members_first_and_then_the_last_ones() {
    let member = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
    let line = |members: &[String]| members.join(",");
    let (a, b, c, d, e) =
        (member("a", 128), member("b", 200), member("c", 128), member("d", 128), member("e", 100));
    // 128 * 3 + 200 + 100 and four commas: the large member is dropped, the rest fits.
    let read = TraceState::parse(line(&[a.clone(), b, c.clone(), d.clone(), e.clone()]).as_bytes()).unwrap();
    assert_eq!(read.as_str(), line(&[a.clone(), c.clone(), d.clone(), e]));
    let f = member("f", 128);
    let read = TraceState::parse(line(&[a.clone(), c.clone(), d.clone(), f]).as_bytes()).unwrap();
    assert_eq!(read.as_str(), line(&[a, c, d]), "515 characters: the last member is dropped");
    let exact = line(&[member("g", 255), member("h", 256)]);
    assert_eq!(TraceState::parse(exact.as_bytes()).unwrap().as_str(), exact, "512 characters are propagated");
    let blanks = format!("foo=1{}", " ".repeat(16_447));
    assert_eq!(TraceState::parse(blanks.as_bytes()), None, "longer than every valid state");
    assert_eq!(TraceState::parse(member(&"k".repeat(256), 513).as_bytes()), None, "no member is left");
}

#[test]
fn the_most_recent_member_of_a_tracestate_is_first() {
    let state = TraceState::new("foo", "1").unwrap().with("bar", "2").unwrap();
    assert_eq!(state.as_str(), "bar=2,foo=1");
    let state = state.with("foo", "3").unwrap();
    assert_eq!(state.as_str(), "foo=3,bar=2");
    assert_eq!((state.get("bar"), state.get("baz")), (Some("2"), None));
    for (key, value) in [("Foo", "1"), ("", "1"), ("foo", ""), ("foo", "a=b"), ("foo", "a,b"), ("foo", "a ")]
    {
        assert!(state.with(key, value).is_err(), "{key}={value}");
    }
    assert!(TraceState::new(&"k".repeat(256), &"v".repeat(256)).is_err(), "513 characters");
    let full: Vec<_> = (0..32).map(|i| format!("k{i}={i}")).collect();
    let next = TraceState::parse(full.join(",").as_bytes()).unwrap().with("own", "1").unwrap();
    assert!(next.as_str().starts_with("own=1,k0=0,") && next.as_str().ends_with(",k30=30"), "{next}");
    assert_eq!(next.iter().count(), 32);
    let own = TraceState::parse(b"foo=1,bar=2").unwrap().with("own", &"v".repeat(256)).unwrap();
    assert_eq!(own.iter().count(), 3, "the new member stays although it is large");
}

proptest! {
    #[test]
    fn a_parsed_tracestate_round_trips(line in "[a-c@ ,=\t0-9A]{0,60}") {
        if let Some(state) = TraceState::parse(line.as_bytes()) {
            prop_assert_eq!(TraceState::parse(state.as_str().as_bytes()), Some(state));
        }
    }
}
