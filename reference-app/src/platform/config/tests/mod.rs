mod environment;
mod secrets;
mod tls;
mod wrong_input;

use std::path::Path;

use figment::Jail;
use serde::Serialize;

use super::{load as load_tree, *};
use crate::services;

#[derive(Serialize)]
struct NoOverrides {}

fn load(profile: Option<Profile>, file: Option<&Path>, overrides: NoOverrides) -> Result<Config, Error> {
    load_tree(services::ALL, profile, file, overrides)
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn layers_override_each_other_and_unknown_keys_are_refused() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("app.toml", "[gateway]\nlisten = \"127.0.0.1:1\"\nbody_limit = 7\n")?;
        jail.set_env("COMMS_GATEWAY__LISTEN", "127.0.0.1:2");
        let config = load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap();
        assert_eq!(config.listen("gateway").unwrap().port(), 2);
        assert!(config.redacted().unwrap().contains("body_limit = 7"));
        assert_eq!(config.listen("order").unwrap().port(), 7101);

        jail.set_env("COMMS_GATEWAY__LISTNE", "127.0.0.1:2");
        let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
        assert!(error.contains("COMMS_GATEWAY__LISTNE; the nearest key is COMMS_GATEWAY__LISTEN"), "{error}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn an_unknown_key_is_reported_with_its_file() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("app.toml", "[gatewya]\nlisten = \"127.0.0.1:1\"\n")?;
        let error = load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap_err().chain().to_string();
        assert!(error.contains("unknown key gatewya in app.toml; the nearest key is gateway"), "{error}");
        jail.create_file("inner.toml", "[gateway]\nlsten = \"127.0.0.1:1\"\n")?;
        let error =
            load(None, Some(Path::new("inner.toml")), NoOverrides {}).unwrap_err().chain().to_string();
        assert!(error.contains("gateway.lsten in inner.toml; the nearest key is gateway.listen"), "{error}");
        let error = load(None, Some(Path::new("none.toml")), NoOverrides {}).unwrap_err().chain().to_string();
        assert!(error.contains("none.toml does not exist"), "{error}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_profile_without_its_required_settings_is_refused() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        let refusal = |what: &str, result: Result<Config, Error>| {
            let text = result.unwrap_err().chain().to_string();
            assert!(text.contains(what), "{text}");
        };
        refusal("database.url", load(Some(Profile::Full), None, NoOverrides {}));
        jail.set_env("COMMS_GATEWAY__LISTEN", "0.0.0.0:8080");
        refusal("auth.public_key_file", load(None, None, NoOverrides {}));
        jail.set_env("COMMS_GATEWAY__LISTEN", "127.0.0.1:8080");
        jail.set_env("COMMS_ROLES", "[order]");
        refusal("separate processes need Kafka", load(None, None, NoOverrides {}));
        jail.set_env("COMMS_ROLES", "[]");
        refusal("no role", load(None, None, NoOverrides {}));
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn each_policy_is_a_table_with_durations_as_text() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        let seconds = std::time::Duration::from_secs;
        let defaults = load(None, None, NoOverrides {}).unwrap();
        assert_eq!(defaults.policies["order"].timeout, Some(seconds(4)));
        assert_eq!(defaults.policies["order"].retry.as_ref().unwrap().max_attempts, 3);
        assert!(defaults.policies["payment"].retry.is_none(), "the consumer retries");
        let file = "[policies.payment]\nbulkhead = false\nretry = { max_attempts = 2 }\n[policies.order]\nbreaker = false";
        jail.create_file("app.toml", file)?;
        jail.set_env("COMMS_POLICIES__PAYMENT__BREAKER__OPEN_DURATION", "1m 30s");
        let config = load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap();
        let payment = &config.policies["payment"];
        let breaker = payment.breaker.as_ref().unwrap();
        assert_eq!(
            (breaker.open_duration, breaker.failure_threshold, payment.timeout),
            (seconds(90), 5, Some(seconds(3)))
        );
        assert_eq!(payment.retry.as_ref().unwrap().max_attempts, 2);
        assert!(payment.bulkhead.is_none() && config.policies["order"].breaker.is_none());

        let file = "[policies.order]\nretry = { backoff = { jitter = \"full\" } }
            breaker = { jitter = 0.5, window = { kind = { calls = 100 }, slow_call_duration = \"1s\" } }
            [policies.payment.retry]\nbackoff = { jitter = { ratio = 0.5 } }\nbudget = false";
        jail.create_file("whole.toml", file)?;
        let whole = load(None, Some(Path::new("whole.toml")), NoOverrides {}).unwrap().policies.clone();
        let window = whole["order"].breaker.as_ref().and_then(|breaker| breaker.window.as_ref()).unwrap();
        assert_eq!((window.min_calls, window.slow_call_duration), (20, Some(seconds(1))));
        assert!(whole["payment"].retry.as_ref().unwrap().budget.is_none());

        // The printed configuration can be loaded again, with the same result.
        jail.clear_env();
        jail.create_file("printed.toml", &config.redacted().unwrap())?;
        let again = load(None, Some(Path::new("printed.toml")), NoOverrides {}).unwrap();
        assert_eq!(
            (&again.policies["order"], &again.policies["payment"]),
            (&config.policies["order"], payment)
        );
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn an_invalid_policy_is_refused_with_its_key() {
    let table: [(&str, &str, &[&str]); 6] = [
        ("COMMS_POLICIES__PAYMNT__TIMEOUT", "1s", &["COMMS_POLICIES__PAYMNT", "COMMS_POLICIES__PAYMENT"]),
        ("COMMS_POLICIES__PAYMENT__TIMEUOT", "1s", &["TIMEUOT", "COMMS_POLICIES__PAYMENT__TIMEOUT"]),
        (
            "COMMS_POLICIES__PAYMENT__BREAKER__OPENDURATION",
            "1s",
            &["BREAKER__OPENDURATION", "BREAKER__OPEN_DURATION"],
        ),
        ("COMMS_POLICIES__PAYMENT__TIMEOUT", "soon", &["soon", "250ms"]),
        (
            "COMMS_POLICIES__PAYMENT__BULKHEAD__MAX_CONCURRENT",
            "0",
            &["COMMS_POLICIES__PAYMENT", "`max_concurrent`"],
        ),
        ("COMMS_POLICIES__ORDER__RETRY", "true", &["COMMS_POLICIES__ORDER__RETRY", "or false"]),
    ];
    for (key, value, parts) in table {
        Jail::expect_with(|jail| {
            jail.clear_env();
            jail.set_env(key, value);
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{key}={value}: {error}");
            Ok(())
        });
    }
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_role_needs_the_urls_of_the_services_that_it_calls() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("COMMS_KAFKA__BROKERS", "k:9092");
        jail.set_env("COMMS_NOTIFICATION__URL", "ws://n");
        jail.set_env("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem");
        jail.set_env("COMMS_AD__URL", "https://a:7103");
        jail.set_env("COMMS_TLS__DIRECTORY", "tls");
        for (role, key) in [("gateway", "order.url"), ("order", "payment.url")] {
            jail.set_env("COMMS_ROLES", format!("[{role}]"));
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(error.contains(key), "{role}: {error}");
        }
        jail.set_env("COMMS_PAYMENT__URL", "https://p:7102");
        load(None, None, NoOverrides {}).unwrap();
        jail.set_env("COMMS_HEALTH__SILENCE", "5s");
        assert!(
            load(None, None, NoOverrides {})
                .unwrap_err()
                .chain()
                .to_string()
                .contains("COMMS_HEALTH__SILENCE")
        );
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn the_clock_skew_of_tokens_is_a_duration_of_at_most_five_minutes() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        let seconds = std::time::Duration::from_secs;
        let skew = || load(None, None, NoOverrides {}).map(|config| config.auth.clock_skew);
        assert_eq!(skew().unwrap(), seconds(30));
        for (text, expected) in [("0s", 0), ("5m", 300), ("1m 30s", 90)] {
            jail.set_env("COMMS_AUTH__CLOCK_SKEW", text);
            assert_eq!(skew().unwrap(), seconds(expected), "{text}");
        }
        for (text, reason) in
            [("5m 1s", "COMMS_AUTH__CLOCK_SKEW: must be at most 5m"), ("soon", "250ms"), ("30", "250ms")]
        {
            jail.set_env("COMMS_AUTH__CLOCK_SKEW", text);
            let error = skew().unwrap_err().chain().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn an_unworkable_combination_is_refused_with_the_setting_to_change() {
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let table: [(Variables<'_>, &[&str]); 7] = [
        (
            &[("COMMS_ROLES", "[order, payment, notification]"), ("COMMS_KAFKA__BROKERS", "k:9092")],
            &["a key of their own", "COMMS_AUTH__PUBLIC_KEY_FILE"],
        ),
        (
            &[("COMMS_GATEWAY__LISTEN", "0.0.0.0:8080"), ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem")],
            &["COMMS_GATEWAY__LISTEN", "COMMS_GATEWAY__URL"],
        ),
        (
            &[("COMMS_NOTIFICATION__LISTEN", "[::]:8081"), ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem")],
            &["COMMS_NOTIFICATION__LISTEN", "COMMS_NOTIFICATION__URL"],
        ),
        (
            &[("COMMS_GATEWAY__LISTEN", "[::ffff:0.0.0.0]:8080"), ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem")],
            &["COMMS_GATEWAY__LISTEN", "COMMS_GATEWAY__URL"],
        ),
        (&[("COMMS_RELAY__LEASE", "5")], &["COMMS_RELAY__LEASE", "250ms"]),
        (&[("COMMS_RELAY__LEASE", "10ms")], &["COMMS_RELAY__LEASE", "300ms"]),
        (&[("COMMS_GATEWAY__LISTEN", "8080")], &["COMMS_GATEWAY__LISTEN", "127.0.0.1:8080"]),
    ];
    for (variables, parts) in table {
        Jail::expect_with(|jail| {
            jail.clear_env();
            variables.iter().for_each(|(key, value)| jail.set_env(key, value));
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{variables:?}: {error}");
            Ok(())
        });
    }
}

/// The gateway stores no data, so it needs neither PostgreSQL nor Kafka.
#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_role_without_events_needs_no_kafka_and_no_database() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        for (key, value) in [
            ("COMMS_ROLES", "[gateway]"),
            ("COMMS_ORDER__URL", "https://o:7101"),
            ("COMMS_ANALYTICS__URL", "https://a:7104"),
            ("COMMS_AD__URL", "https://a:7103"),
            ("COMMS_TLS__DIRECTORY", "tls"),
            ("COMMS_NOTIFICATION__URL", "ws://n:8081"),
            ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem"),
        ] {
            jail.set_env(key, value);
        }
        load(Some(Profile::Full), None, NoOverrides {}).unwrap();
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn limits_of_listeners_are_durations_and_must_not_be_zero() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        let listeners = load(None, None, NoOverrides {}).unwrap().listeners.clone();
        assert_eq!(listeners.head_timeout, std::time::Duration::from_secs(10));
        assert_eq!((listeners.max_connections, listeners.max_connections_per_address), (None, None));
        jail.set_env("COMMS_LISTENERS__HEAD_TIMEOUT", "1m 30s");
        let config = load(None, None, NoOverrides {}).unwrap();
        assert_eq!(config.listeners.head_timeout, std::time::Duration::from_secs(90));
        assert!(config.redacted().unwrap().contains("head_timeout = \"1m 30s\""));
        for (key, value, part) in [
            ("COMMS_LISTENERS__HEAD_TIMEOUT", "0s", "more than 0s"),
            ("COMMS_LISTENERS__IDLE_TIMEOUT", "0s", "more than 0s"),
            ("COMMS_LISTENERS__PROGRESS_TIMEOUT", "soon", "250ms"),
            ("COMMS_LISTENERS__MAX_CONNECTIONS", "0", "at least 1"),
        ] {
            jail.clear_env();
            jail.set_env(key, value);
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(error.contains(part), "{key}={value}: {error}");
        }
        Ok(())
    });
}
