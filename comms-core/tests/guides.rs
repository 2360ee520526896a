//! What the guides say of configuration is true: every key, every default.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::{collections::BTreeSet, time::Duration};

use comms_core::resilience::{PolicyConfig, RateLimitConfig, WindowConfig};
use serde_json::Value;

/// The one block of TOML in the guide.
fn toml() -> &'static str {
    let guide = include_str!("../../docs/guides/resilience.md");
    guide.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0
}

/// Every key with those above it: `retry.backoff.base`.
fn keys(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{above}{name}");
        keys(value, &format!("{path}."), found);
        found.insert(path);
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found
}

#[test]
fn a_policy_is_shown_with_all_its_keys() {
    let config: PolicyConfig = toml::from_str(toml()).unwrap();
    let (shown, all) = (toml::from_str::<Value>(toml()).unwrap(), serde_json::to_value(&config).unwrap());
    assert_eq!(keys_of(&shown), keys_of(&all));
}

#[test]
fn a_policy_is_shown_with_its_defaults_but_where_it_says_otherwise() {
    let mut expected: PolicyConfig = toml::from_str("").unwrap();
    assert_eq!(expected, PolicyConfig::background());
    let (mut window, mut rate) = (WindowConfig::default(), RateLimitConfig::default());
    window.slow_call_duration = Some(Duration::from_millis(500));
    rate.burst = Some(rate.limit);
    expected.timeout = Some(Duration::from_secs(2));
    let breaker = expected.breaker.as_mut().unwrap();
    (breaker.window, breaker.max_open_duration) = (Some(window), Some(Duration::from_secs(600)));
    expected.rate_limit = Some(rate);
    let shown: PolicyConfig = toml::from_str(toml()).unwrap();
    shown.validate().unwrap();
    assert_eq!(shown, expected);
}

#[test]
fn each_switch_that_is_shown_works() {
    let config: PolicyConfig = toml::from_str(
        "retry = false\nbreaker = false\nbulkhead = false\nrate_limit = false\nmetrics = false\ntimeout = '1s'",
    )
    .unwrap();
    let mut expected = PolicyConfig::none();
    (expected.timeout, expected.attempt_timeout) =
        (Some(Duration::from_secs(1)), Some(Duration::from_secs(10)));
    assert_eq!(config, expected);
    let spread: PolicyConfig = toml::from_str(
        "retry = { budget = false, backoff = { jitter = 'full' } }\nbreaker = { window = { kind = { calls = 100 } } }",
    )
    .unwrap();
    spread.validate().unwrap();
    assert!(spread.retry.unwrap().budget.is_none() && spread.breaker.unwrap().window.is_some());
}
