//! Configurations with mistakes: keys, shapes and values that are refused.

use figment::Jail;

use super::{Config, Error, NoOverrides, Path, load};

/// Loads a file with the content `text`, and the environment `variables`.
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let mut result = None;
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("app.toml", text)?;
        variables.iter().for_each(|(key, value)| jail.set_env(key, value));
        result = Some(load(None, Some(Path::new("app.toml")), NoOverrides {}));
        Ok(())
    });
    result.unwrap()
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    match loaded(text, variables) {
        Ok(_) => panic!("accepted: {text} {variables:?}"),
        Err(error) => error.chain().to_string(),
    }
}

#[test]
fn a_secret_under_a_wrong_key_is_not_printed() {
    for file in [
        "\"postgres://shop:hunter2@db/shop\" = 1",
        "[database]\n\"postgres://shop:hunter2@db/shop\" = 1",
        "[\"postgres://shop:hunter2@db/shop\"]\nx = 1",
        "database = [\"postgres://shop:hunter2@db/shop\", 5]",
        "[[database]]\nurl = \"postgres://shop:hunter2@db/shop\"",
        "[kafka]\nbrokers = \"SASL_SSL://shop:hunter2@k:9092\"",
        "[auth]\npublic_key_file = \"-----BEGIN PRIVATE KEY-----\\nhunter2\"",
        "[tls]\nkey = \"-----BEGIN PRIVATE KEY-----\\nhunter2\"",
        "[tls.services.order]\ncertificate = \"c.pem\"\nkey = \"-----BEGIN PRIVATE KEY-----\\nhunter2\"",
        "[order]\nurl = [\"http://shop:hunter2@order\"]",
        "[order]\nurl = \"https://shop:hunter2@order:7101\"",
        "[order]\nurl = \"ftp://shop:hunter2@order\"",
        "[gateway]\nurl = \"shop:hunter2\"",
        "[gateway]\nurl = \"https://shop:hunter2@shop.example\"",
        "[notification]\nurl = \"ws://shop:hunter2@events.example\"",
        "[notification]\ncursor_keys = [\"hunter2\"]",
        "[notification]\ncursor_keys = \"hunter2hunter2hunter2hunter2hunter2\"",
        "[redis]\nurl = [\"redis://:hunter2@redis\"]",
        "[redis]\nurl = \"redis://:hunter2@redis\"\nprefix = \"\"",
    ] {
        let text = refused(file, &[]);
        assert!(!text.contains("hunter2") && text.contains("in app.toml"), "{file}: {text}");
    }
    let text = refused("", &[("COMMS_DATABASE", "[\"hunter2\", 5]")]);
    assert!(text.contains("COMMS_DATABASE: must be a table") && !text.contains("hunter2"), "{text}");
    let secret = "hunter2".repeat(5);
    for (table, key, value) in [
        ("admin", "token_file", format!("\"{secret}\"")),
        ("redis", "url", format!("\"redis://:{secret}@redis\"")),
        ("notification", "cursor_keys", format!("[\"{secret}\"]")),
    ] {
        let shown = loaded(&format!("[{table}]\n{key} = {value}"), &[]).unwrap().redacted().unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(&format!("{key} = \"[redacted]\"")), "{shown}");
    }
}

#[test]
fn the_keys_of_librdkafka_are_read_with_and_without_quotes() {
    let kafka = "[kafka]\nbrokers = \"k:9092\"\n[kafka.librdkafka]\n";
    let file =
        format!("{kafka}sasl.password = \"one\"\n\"client.id\" = \"two\"\nssl.key.password = \"three\"");
    let config = loaded(&file, &[("COMMS_KAFKA__LIBRDKAFKA__SASL.PASSWORD", "four")]).unwrap();
    let client = &config.kafka.as_ref().unwrap().librdkafka;
    let found: Vec<_> = client.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(found, [("client.id", "two"), ("sasl.password", "four"), ("ssl.key.password", "three")]);
    let text = refused(&format!("{kafka}sasl.password = 12345678"), &[]);
    assert!(text.contains("kafka.librdkafka.\"sasl.password\" in app.toml: must be text"), "{text}");
}

#[test]
fn an_unknown_key_is_reported_as_set_with_the_nearest_key() {
    let table = [
        ("COMMS_DATA__DIR", "COMMS_DATA__DIR; the nearest key is COMMS_DATA_DIR"),
        ("COMMS_GATEWAY_LISTEN", "COMMS_GATEWAY_LISTEN; the nearest key is COMMS_GATEWAY__LISTEN"),
        ("COMMS_GATEWYA__LISTEN", "COMMS_GATEWYA__LISTEN; the nearest key is COMMS_GATEWAY__LISTEN"),
        ("COMMS_GATEWAY__LEASE", "COMMS_GATEWAY__LEASE; the nearest key is COMMS_RELAY__LEASE"),
        ("COMMS_GATEWAY__TIMEOUT", "the nearest key is COMMS_GATEWAY__REQUEST_TIMEOUT"),
        ("COMMS_ADMIN__TOKEN", "the nearest key is COMMS_ADMIN__TOKEN_FILE"),
        ("COMMS_DATABASE__BROKERS", "the nearest key is COMMS_KAFKA__BROKERS"),
        ("COMMS_BODY_LIMIT", "the nearest key is COMMS_GATEWAY__BODY_LIMIT"),
        ("COMMS_POLICIES__PAYMNT__TIMEOUT", "COMMS_POLICIES__PAYMNT"),
    ];
    for (variable, part) in table {
        let text = refused("", &[(variable, "1s")]);
        assert!(text.contains(part), "{variable}: {text}");
    }
    let text = refused("GATEWAY = { listen = \"127.0.0.1:1\" }", &[]);
    assert!(text.contains("unknown key GATEWAY in app.toml; the nearest key is gateway"), "{text}");
}

#[test]
fn a_renamed_key_is_refused_with_its_present_name() {
    let table = [
        ("consumer.attempts", "consumer.max_attempts"),
        ("policies.order.retry.attempts", "policies.order.retry.max_attempts"),
        ("policies.order.breaker.failures", "policies.order.breaker.failure_threshold"),
        ("policies.order.breaker.successes", "policies.order.breaker.success_threshold"),
        ("policies.order.breaker.open_for", "policies.order.breaker.open_duration"),
        ("policies.order.breaker.open_limit", "policies.order.breaker.max_open_duration"),
        ("policies.order.breaker.probes", "policies.order.breaker.half_open_max_calls"),
        ("policies.order.breaker.window.over", "policies.order.breaker.window.kind"),
        (
            "policies.order.breaker.window.failure_rate",
            "policies.order.breaker.window.failure_rate_threshold",
        ),
        ("policies.order.breaker.window.slow_after", "policies.order.breaker.window.slow_call_duration"),
        ("policies.order.breaker.window.slow_rate", "policies.order.breaker.window.slow_call_rate_threshold"),
        ("policies.order.bulkhead.limit", "policies.order.bulkhead.max_concurrent"),
        ("policies.order.bulkhead.max_waiting", "policies.order.bulkhead.max_queued"),
    ];
    let variable = |key: &str| format!("COMMS_{}", key.replace('.', "__").to_uppercase());
    for (old, new) in table {
        let text = refused(&format!("{old} = 1"), &[]);
        assert!(text.ends_with(&format!("unknown key {old} in app.toml: it is now {new}")), "{text}");
        let (old, new) = (variable(old), variable(new));
        let text = refused("", &[(&old, "1")]);
        assert!(text.ends_with(&format!("unknown key {old}: it is now {new}")), "{text}");
        // The present name is a key: it is refused for its value, or not at all.
        if let Err(error) = loaded("", &[(&new, "1")]) {
            assert!(!error.chain().to_string().contains("unknown key"), "{new}: {}", error.chain());
        }
    }
}

#[test]
fn an_invalid_value_is_refused_with_the_accepted_values() {
    let brokers = ("COMMS_KAFKA__BROKERS", "k:9092");
    let table = [
        ("COMMS_GATEWAY__REQUEST_TIMEOUT", "1ns", "must be between 1ms and 1h"),
        ("COMMS_GATEWAY__REQUEST_TIMEOUT", "9000y", "must be between 1ms and 1h"),
        ("COMMS_GATEWAY__BODY_LIMIT", "0", "must be at least 1"),
        ("COMMS_GATEWAY__LISTEN", "localhost:80", "must be an address with a port"),
        ("COMMS_PAYMENT__LIMIT_MINOR", "-1", "must not be negative"),
        ("COMMS_ORDER__SAGA__PAYMENT_LIMIT", "0s", "must be between 1s and 366days"),
        ("COMMS_ORDER__SAGA__ATTEMPTS", "0", "must be between 1 and 100"),
        ("COMMS_ORDER__SHIPPING__DELIVERED_AFTER", "367days", "must be at most 366days"),
        ("COMMS_ORDER__SHIPPING__MODE", "courier", "stand-in"),
        ("COMMS_CONSUMER__BACKOFF", "0s", "at most consumer.backoff_cap"),
        ("COMMS_CONSUMER__BACKOFF", "1h", "at most consumer.backoff_cap"),
        ("COMMS_CONSUMER__BACKOFF_CAP", "9000y", "must be at most 1h"),
        ("COMMS_RELAY__LEASE", "2h", "must be between 300ms and 1h"),
        ("COMMS_KAFKA__PREFIX", "a b/", "must be at most 100 letters"),
        ("COMMS_KAFKA__REPLICATION_FACTOR", "0", "must be at least 1"),
        ("COMMS_KAFKA__REPLICATION_FACTOR", "40000", "must be at least 1, and at most the number of brokers"),
        ("COMMS_LOG__FILTER", "a=b=c", "must be a filter"),
        ("COMMS_AUTH__ISSUER", "", "must not be empty"),
        ("COMMS_ROLES", "order", "must be a list, such as [a, b]"),
        ("COMMS_POLICIES__ORDER", "[\"1s\"]", "must be a table"),
        ("COMMS_NOTIFICATION__URL", "http://events.example", "must be a URL such as wss://host"),
        ("COMMS_GATEWAY__URL", "http://0.0.0.0:8080", "wildcard"),
        ("COMMS_GATEWAY__URL", "http://[::]:8080", "wildcard"),
        ("COMMS_GATEWAY__URL", "https://shop.example:99999", "must be a URL such as https://host"),
        ("COMMS_ORDER__URL", "https://order:7101/path", "without a path"),
        ("COMMS_ORDER__URL", "http://order:7101", "must be a URL such as https://host:port"),
        ("COMMS_ORDER__RETENTION__ENDED_RUNS", "1h", "must be between 1day and 3660days"),
        ("COMMS_TLS__TRUST_DOMAIN", "Shop", "lowercase letters"),
        ("COMMS_TLS__MODE", "mesh", "must be one of: development, files, off"),
    ];
    for (variable, value, part) in table {
        let text = refused("", &[brokers, (variable, value)]);
        assert!(text.contains(variable) && text.contains(part), "{variable}={value}: {text}");
    }
    let database = ("COMMS_DATABASE__URL", "postgres://db");
    let text = refused("", &[brokers, database, ("COMMS_DATABASE__MAX_CONNECTIONS", "4000000000")]);
    assert!(text.contains("COMMS_DATABASE__MAX_CONNECTIONS: must be between 1 and 10000"), "{text}");
}

#[test]
fn two_listeners_on_one_port_are_refused() {
    for (order, taken) in [("127.0.0.1:8080", "gateway"), ("0.0.0.0:9090", "admin"), ("[::]:8080", "gateway")]
    {
        let text = refused("", &[("COMMS_ORDER__LISTEN", order)]);
        let part =
            format!("COMMS_ORDER__LISTEN: the port {} is used by {taken}.listen", &order[order.len() - 4..]);
        assert!(text.contains(&part), "{order}: {text}");
    }
    let mapped =
        [("COMMS_GATEWAY__LISTEN", "[::ffff:0.0.0.0]:8080"), ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem")];
    assert!(refused("", &mapped).contains("COMMS_GATEWAY__URL"), "an IPv4-mapped wildcard address");
}

#[test]
fn the_section_of_the_sessions_is_checked() {
    for (text, expected) in [
        ("origins = [\"shop.example\"]", "notification.origins in app.toml: must be a list of origins"),
        ("cursor_keys = [\"short\"]", "notification.cursor_keys in app.toml: must be a list of secrets"),
        (
            "max_sessions_per_address = 0",
            "notification.max_sessions_per_address in app.toml: must be at least 1",
        ),
        (
            "[notification.history]\nmessages = 0",
            "notification.history.messages in app.toml: must be between",
        ),
        ("[notification.history]\nage = \"2days\"", "notification.history.age in app.toml: must be between"),
    ] {
        let text = refused(&format!("[notification]\n{text}"), &[]);
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let keys = format!("[\"{}\", \"{}\"]", "a".repeat(32), "b".repeat(32));
    loaded(
        "[notification]\norigins = [\"https://shop.example\"]",
        &[("COMMS_NOTIFICATION__CURSOR_KEYS", &keys)],
    )
    .unwrap();
}
