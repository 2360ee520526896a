//! The values of a service config, their bounds, and the choice of the entry of a method.

mod balancing;

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock, resilience::HedgeDelay};
use tonic::Code;

use super::*;

fn error(json: &str) -> String {
    let error = ServiceConfig::parse(json).expect_err(json);
    assert_eq!(error.kind, ErrorKind::Invalid, "{json}");
    error.to_string()
}

/// Returns the config of an entry for all methods with the fields `fields`.
fn entry(fields: &str) -> String {
    format!(r#"{{"methodConfig": [{{"name": [{{}}], {fields}}}]}}"#)
}

/// Returns a retry policy in which `field` has another `value`; an empty value removes the field.
fn retry_policy(field: &str, value: &str) -> String {
    let fields = [
        ("maxAttempts", "4"),
        ("initialBackoff", "\".1s\""),
        ("maxBackoff", "\"1s\""),
        ("backoffMultiplier", "2"),
        ("retryableStatusCodes", "[\"UNAVAILABLE\"]"),
        ("perAttemptRecvTimeout", "null"),
    ];
    let fields = fields.map(|(name, default)| (name, if name == field { value } else { default }));
    let fields: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    entry(&format!("\"retryPolicy\": {{{}}}", fields.join(", ")))
}

fn method(json: &str) -> MethodConfig {
    ServiceConfig::parse(json).unwrap().entry("/a.B/C").expect("an entry").1.clone()
}

#[test]
fn the_entry_of_a_method_precedes_that_of_its_service_and_that_precedes_the_default() {
    let json = r#"{ "methodConfig": [
        { "name": [{}], "timeout": "1s" },
        { "name": [{ "service": "a.B", "method": "" }, { "service": "x.Y", "method": null }], "timeout": "2s" },
        { "name": [{ "service": "a.B", "method": "C" }], "timeout": "3s" },
        { "timeout": "4s" }
    ] }"#;
    let config = ServiceConfig::parse(json).unwrap();
    let seconds =
        |path| config.entry(path).and_then(|(_, entry)| entry.timeout).map(|timeout| timeout.as_secs());
    let found = ["/a.B/C", "/a.B/D", "/x.Y/C", "/a.BC/C", "/other", ""].map(seconds);
    assert_eq!(found, [3, 2, 2, 1, 1, 1].map(Some));
    assert!(config.names("/a.B/C") && !config.names("/a.B/D") && !config.names("/a.B"));
    assert!(ServiceConfig::parse("{}").unwrap().entry("/a.B/C").is_none());
}

#[test]
fn a_name_that_can_match_nothing_or_is_given_twice_is_refused() {
    for (names, reason) in [
        (
            r#"[{"service": "a.B"}, {"service": "a.B", "method": ""}]"#,
            "[0].name[1]: another entry has the same name",
        ),
        (r#"[{}, {"service": null}]"#, "[0].name[1]: another entry has the same name"),
        (r#"[{"method": "C"}]"#, "[0].name[0]: `method` needs a `service`"),
        (r#"[{"service": "/a.B"}]"#, "[0].name[0]: `service` is package.Service"),
        (r#"[{"service": "a.B", "method": "a.B/C"}]"#, "[0].name[0]: `service` is package.Service"),
    ] {
        let error = error(&format!(r#"{{"methodConfig": [{{"name": {names}}}]}}"#));
        assert!(error.contains(reason), "{error}");
    }
    let error =
        error(r#"{"methodConfig": [{"name": [{"service": "a"}]}, {"name": [{}, {"service": "a"}]}]}"#);
    assert!(error.contains("methodConfig[1].name[1]: another entry"), "{error}");
}

#[test]
fn durations_have_the_form_of_proto_json() {
    for (text, millis) in [
        ("1s", 1_000),
        ("1.5s", 1_500),
        (".1s", 100),
        ("2.s", 2_000),
        ("0.001000000s", 1),
        ("00012s", 12_000),
    ] {
        let config = method(&entry(&format!("\"timeout\": \"{text}\"")));
        assert_eq!(config.timeout, Some(Duration::from_millis(millis)), "{text}");
    }
    let longest = method(&entry("\"timeout\": \"315576000000s\"")).timeout;
    assert_eq!(longest, Some(Duration::from_secs(99_999_999)));
    for text in [
        "",
        "s",
        ".s",
        "1",
        "1 s",
        "-1s",
        "+1s",
        "1.0000000000s",
        "1e3s",
        "1m",
        "0x1s",
        "1.-5s",
        "9999999999999s",
    ] {
        let error = error(&entry(&format!("\"timeout\": \"{text}\"")));
        assert!(
            error.contains("methodConfig[0].timeout: ") && error.contains("is not a duration"),
            "{error}"
        );
    }
    assert!(error(&entry("\"timeout\": \"0s\"")).contains("methodConfig[0].timeout: must be above zero"));
    assert!(error(&entry("\"timeout\": 1.5")).contains("methodConfig[0].timeout: invalid type"));
}

#[test]
fn the_limits_of_messages_are_whole_numbers_of_32_bits() {
    let config = method(&entry(r#""maxRequestMessageBytes": 0, "maxResponseMessageBytes": "4194304""#));
    assert_eq!((config.max_request, config.max_response), (Some(0), Some(4_194_304)));
    assert_eq!(
        method(&entry("\"maxRequestMessageBytes\": 4.294967295e9")).max_request,
        Some(u32::MAX as usize)
    );
    for value in ["-1", "1.5", "4294967296", "\"x\"", "true", "[]"] {
        let error = error(&entry(&format!("\"maxResponseMessageBytes\": {value}")));
        assert!(error.contains("methodConfig[0].maxResponseMessageBytes: "), "{error}");
    }
}

#[test]
fn a_retry_policy_has_all_its_fields_within_their_bounds() {
    let config = method(&retry_policy("", ""));
    let codes = config.retryable.unwrap();
    assert!(codes.contains(Code::Unavailable) && !codes.contains(Code::Internal));
    for (field, values) in [
        ("maxAttempts", &["", "1", "0", "-2", "2.5", "null", "\"two\""][..]),
        ("initialBackoff", &["", "\"0s\"", "1", "null"]),
        ("maxBackoff", &["", "\"0s\"", "\"-1s\""]),
        ("backoffMultiplier", &["", "0", "-1", "\"NaN\"", "\"inf\""]),
        (
            "retryableStatusCodes",
            &["", "[]", "[\"OK\"]", "[0]", "[17]", "[\"unavailable\"]", "[1.5]", "\"INTERNAL\""],
        ),
        ("perAttemptRecvTimeout", &["\"0s\"", "7"]),
    ] {
        for value in values {
            let error = error(&retry_policy(field, value));
            let path = "methodConfig[0].retryPolicy";
            assert!(error.contains(path) && error.contains(field), "{field}: {value:?}: {error}");
        }
    }
    // Valid, and limited by the client or by its own bounds.
    for (field, value) in [
        ("maxAttempts", "100"),
        ("initialBackoff", "\"3600s\""),
        ("backoffMultiplier", "0.5"),
        ("retryableStatusCodes", "[\"UNAVAILABLE\", 13, \"CANCELLED\"]"),
        ("perAttemptRecvTimeout", "\"0.3s\""),
    ] {
        method(&retry_policy(field, value));
    }
    let codes = method(&retry_policy("retryableStatusCodes", "[14, \"CANCELLED\"]")).retryable.unwrap();
    assert!([Code::Unavailable, Code::Cancelled].iter().all(|code| codes.contains(*code)));
}

#[test]
fn retries_and_hedges_exclude_each_other() {
    let hedging = r#""hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.5s", "nonFatalStatusCodes": []}"#;
    let both = retry_policy("", "").replace("\"retryPolicy\"", &format!("{hedging}, \"retryPolicy\""));
    assert!(error(&both).contains("methodConfig[0]: `retryPolicy` and `hedgingPolicy` exclude each other"));
    let hedge = method(&entry(hedging)).hedge.unwrap();
    assert_eq!((hedge.delay, hedge.max_attempts), (HedgeDelay::Fixed(Duration::from_millis(500)), 3));
    for (policy, reason) in [
        (r#"{"maxAttempts": 1, "hedgingDelay": "1s"}"#, "hedgingPolicy.maxAttempts: must be at least 2"),
        (r#"{"maxAttempts": 2}"#, "hedgingPolicy: missing field `hedgingDelay`"),
        (r#"{"maxAttempts": 2, "hedgingDelay": "-1s"}"#, "hedgingPolicy.hedgingDelay: "),
        (
            r#"{"maxAttempts": 2, "hedgingDelay": "0s", "nonFatalStatusCodes": ["OK"]}"#,
            "hedgingPolicy.nonFatalStatusCodes[0]: ",
        ),
    ] {
        let error = error(&entry(&format!("\"hedgingPolicy\": {policy}")));
        assert!(error.contains("methodConfig[0].") && error.contains(reason), "{error}");
    }
}

#[test]
fn the_throttling_keeps_its_tokens_while_its_settings_stay() {
    let clock = Clock::system();
    let config = |ratio: &str| {
        let json = format!(r#"{{"retryThrottling": {{"maxTokens": 10, "tokenRatio": {ratio}}}}}"#);
        ServiceConfig::parse(&json).unwrap()
    };
    let (none, first) = (ServiceConfig::default(), config("0.1"));
    let budget = first.budget(None, &clock).unwrap();
    assert_eq!((0..100).filter(|_| budget.try_withdraw()).count(), 4);
    let same = config("0.1").budget(Some((&first, Some(&budget))), &clock).unwrap();
    assert_eq!(same.available(), 0);
    let other = config("0.2").budget(Some((&first, Some(&budget))), &clock).unwrap();
    assert_eq!(other.available(), 4);
    assert!(none.budget(Some((&first, Some(&budget))), &clock).is_none());
    for values in [
        r#""maxTokens": 0, "tokenRatio": 0.1"#,
        r#""maxTokens": 1001, "tokenRatio": 0.1"#,
        r#""maxTokens": 10, "tokenRatio": 0"#,
        r#""maxTokens": 10"#,
    ] {
        assert!(
            error(&format!(r#"{{"retryThrottling": {{{values}}}}}"#)).contains("retryThrottling"),
            "{values}"
        );
    }
}

/// gRFC A21: unknown fields are ignored, and any other fault refuses the whole config.
#[test]
fn unknown_fields_are_ignored_and_malformed_text_is_refused() {
    let json = r#"{"xds": 7, "methodConfig": [{"name": [{"x": 1}], "later": {}, "timeout": null}], "methodconfig": 3}"#;
    assert!(method(json).timeout.is_none());
    for json in [
        "",
        "{",
        "[]",
        "null",
        "{} {}",
        r#"{"methodConfig": {}}"#,
        r#"{"methodConfig": [], "methodConfig": []}"#,
    ] {
        assert!(error(json).contains("service config: "), "{json}");
    }
    assert!(error(&format!("{{}}{}", " ".repeat(MAX_BYTES))).contains("longer than 1 MiB"));
}

#[test]
fn the_name_of_the_watched_service_may_be_empty() {
    for (value, name) in [(r#""x""#, Some("x")), (r#""""#, Some("")), ("null", None)] {
        let json = format!(r#"{{"healthCheckConfig": {{"serviceName": {value}}}}}"#);
        assert_eq!(ServiceConfig::parse(&json).unwrap().health_check.as_deref(), name);
    }
    assert!(
        error(r#"{"healthCheckConfig": {"serviceName": 1}}"#).contains("healthCheckConfig.serviceName: ")
    );
}
