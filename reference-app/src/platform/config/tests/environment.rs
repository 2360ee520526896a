//! Environment variables: types of their values, and variables that are not keys.

use std::path::Path;

use figment::Jail;

use super::{NoOverrides, load};

/// Kubernetes sets variables for each service of the namespace, here `comms`, `comms-gateway` and `comms-kafka`.
#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn variables_that_kubernetes_sets_are_ignored() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        for service in ["COMMS", "COMMS_GATEWAY", "COMMS_KAFKA"] {
            let variables = [
                ("SERVICE_HOST", "10.0.48.109"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
                ("PORT", "tcp://10.0.48.109:8080"),
                ("PORT_8080_TCP", "tcp://10.0.48.109:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.0.48.109"),
            ];
            for (name, text) in variables {
                jail.set_env(format!("{service}_{name}"), text);
            }
        }
        load(None, None, NoOverrides {}).unwrap();
        // A misspelled setting is not mistaken for one of them.
        for (name, text) in [("COMMS_ORDER_PORT", "8081"), ("COMMS_ORDER_SERVICE_HOST", "order")] {
            jail.set_env(name, text);
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(error.contains("unknown key COMMS_ORDER_"), "{error}");
        }
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_variable_is_read_as_text_if_text_is_expected() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("COMMS_AUTH__AUDIENCE", "0042");
        jail.set_env("COMMS_AUTH__ISSUER", "true");
        jail.set_env("COMMS_DATA_DIR", "2026");
        jail.set_env("COMMS_RELAY__OWNER", "7");
        jail.set_env("COMMS_KAFKA__BROKERS", "kafka:9092");
        jail.set_env("COMMS_KAFKA__PREFIX", "2026");
        jail.set_env("COMMS_KAFKA__REPLICATION_FACTOR", "1");
        let config = load(None, None, NoOverrides {}).unwrap();
        let kafka = config.kafka.as_ref().unwrap();
        assert_eq!((config.auth.audience.as_str(), config.auth.issuer.as_str()), ("0042", "true"));
        assert_eq!(
            (config.data_dir.as_path(), config.relay.owner.as_deref()),
            (Path::new("2026"), Some("7"))
        );
        assert_eq!((kafka.prefix.as_str(), kafka.replication_factor), ("2026", 1));
        jail.create_file("printed.toml", &config.redacted().unwrap())?;
        jail.clear_env();
        let again = load(None, Some(Path::new("printed.toml")), NoOverrides {}).unwrap();
        assert_eq!(again.auth.audience, "0042");
        // A file distinguishes text from numbers.
        jail.create_file("app.toml", "[auth]\naudience = 42\n")?;
        let error = load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap_err().chain().to_string();
        assert!(error.contains("auth.audience in app.toml: must be text in quotes"), "{error}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn an_unusable_url_is_refused() {
    let table = [
        ("COMMS_NOTIFICATION__URL", "", "wss://host"),
        ("COMMS_NOTIFICATION__URL", "https://shop.example", "wss://host"),
        ("COMMS_NOTIFICATION__URL", "wss://", "wss://host"),
        ("COMMS_GATEWAY__URL", "", "https://host"),
        ("COMMS_GATEWAY__URL", "shop.example", "https://host"),
        ("COMMS_GATEWAY__URL", "wss://shop.example", "https://host"),
        ("COMMS_ORDER__URL", "order:7101", "https://"),
    ];
    for (key, text, scheme) in table {
        Jail::expect_with(|jail| {
            jail.clear_env();
            jail.set_env(key, text);
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(error.contains(key) && error.contains(scheme), "{key}={text}: {error}");
            Ok(())
        });
    }
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("COMMS_NOTIFICATION__URL", "wss://events.example/shop/");
        let config = load(None, None, NoOverrides {}).unwrap();
        assert_eq!(config.url("notification").unwrap().as_deref(), Some("wss://events.example/shop"));
        Ok(())
    });
}
