//! The settings that the configuration accepts, refuses and hides.

use super::*;

fn with(key: &str, value: &str) -> Result<ClientConfig, Error> {
    let config = KafkaConfig::new("localhost:9092").librdkafka(key, value);
    config.client(&[("linger.ms", "5")], &[("acks", "all")])
}

#[test]
fn refuses_settings_that_carry_a_guarantee_with_the_reason() {
    for (key, reason) in REFUSED {
        let text = with(key, "1").unwrap_err().chain().to_string();
        assert!(text.contains(key) && text.contains(reason), "{text}");
    }
    assert!(with("max.in.flight", "6").is_err());
    assert!(with("max.in.flight", "five").is_err());
    assert!(with("max.in.flight", "5").is_ok());
}

#[test]
fn other_settings_replace_the_defaults() {
    assert_eq!(with("linger.ms", "20").unwrap().get("linger.ms"), Some("20"));
    assert_eq!(with("fetch.min.bytes", "2").unwrap().get("linger.ms"), Some("5"));
    assert!(with("no.such.key", "1").unwrap_err().chain().to_string().contains("no.such.key"));
    assert!(KafkaConfig::new(" ").client(&[], &[]).is_err());
}

#[test]
fn an_error_names_the_key_and_hides_the_value() {
    for key in ["sasl.pasword", "linger.ms"] {
        let error = with(key, "hunter2").unwrap_err();
        let text = format!("{} {error:?}", error.chain());
        assert!(text.contains(key) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn refuses_brokers_that_are_not_host_and_port() {
    let kind = |brokers: &str| KafkaConfig::new(brokers).client(&[], &[]).map_err(|error| error.kind);
    for brokers in ["a:9092", "a", "a:1, b:2", "PLAINTEXT://a:9092", "[::1]:9092", "[::1]", "10.0.0.1:65535"]
    {
        assert!(kind(brokers).is_ok(), "{brokers}");
    }
    for brokers in [
        "", ",", "a:9092,", "a:", ":9092", "a:0", "a:65536", "a:b", "a:1:2", "[::1", "[a]:1", "a b:1",
        "u@a:1",
    ] {
        assert_eq!(kind(brokers).err(), Some(comms_core::ErrorKind::Invalid), "{brokers}");
    }
}

#[test]
fn deserializes_numbers_booleans_and_tables() {
    let text = r#"{"brokers": "b:1", "rack": "r1", "librdkafka":
        {"linger.ms": 7, "session": {"timeout.ms": "6000"}, "check.crcs": true}}"#;
    let config: KafkaConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.client_id, "comms");
    let expected = [("check.crcs", "true"), ("linger.ms", "7"), ("session.timeout.ms", "6000")];
    let read: Vec<_> = config.librdkafka.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(read, expected);
    assert!(serde_json::from_str::<KafkaConfig>(r#"{"brokers": "b:1", "broker": "x"}"#).is_err());
}

#[test]
fn debug_output_hides_secrets() {
    let mut config = KafkaConfig::new("b:1");
    for key in ["sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "SSL.Keystore.Password"] {
        config = config.librdkafka(key, "hush");
    }
    let url = format!("{:?}", KafkaConfig::new("a:1,SASL_SSL://shop:hush@b:1"));
    assert!(!url.contains("hush") && url.contains("a:1,***"), "{url}");
    let config = config.librdkafka("linger.ms", "7").client_id("billing").rack("r1");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush") && shown.contains("\"7\""), "{shown}");
    assert!(shown.contains("billing") && shown.contains("r1"), "{shown}");
}
