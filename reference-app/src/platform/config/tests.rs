use std::path::Path;

use figment::Jail;

use super::*;

#[derive(Serialize)]
struct Nothing {}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn layers_override_each_other_and_unknown_keys_are_refused() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("app.toml", "[gateway]\nlisten = \"127.0.0.1:1\"\nbody_limit = 7\n")?;
        jail.set_env("COMMS_GATEWAY__LISTEN", "127.0.0.1:2");
        let config = load(None, Some(Path::new("app.toml")), Nothing {}).unwrap();
        assert_eq!(config.gateway.listen.port(), 2);
        assert_eq!(config.gateway.body_limit, 7);
        assert_eq!(config.order.listen.port(), 7101);

        jail.set_env("COMMS_GATEWAY__LISTNE", "127.0.0.1:2");
        let error = load(None, None, Nothing {}).unwrap_err().to_string();
        assert!(error.contains("listne") && error.contains("COMMS_"), "{error}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_typo_in_the_file_is_named_with_the_file() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.create_file("app.toml", "[gatewya]\nlisten = \"127.0.0.1:1\"\n")?;
        let error = load(None, Some(Path::new("app.toml")), Nothing {}).unwrap_err().to_string();
        assert!(error.contains("gatewya") && error.contains("app.toml"), "{error}");
        let error = load(None, Some(Path::new("none.toml")), Nothing {}).unwrap_err().to_string();
        assert!(error.contains("none.toml is not there"), "{error}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn a_profile_refuses_what_it_cannot_run() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        let refusal = |what: &str, result: Result<Config, Error>| {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(what), "{text}");
        };
        refusal("database.url", load(Some(Profile::Full), None, Nothing {}));
        jail.set_env("COMMS_GATEWAY__LISTEN", "0.0.0.0:8080");
        refusal("auth.public_key_file", load(None, None, Nothing {}));
        jail.set_env("COMMS_GATEWAY__LISTEN", "127.0.0.1:8080");
        jail.set_env("COMMS_ROLES", "[order]");
        refusal("separate processes need Kafka", load(None, None, Nothing {}));
        jail.set_env("COMMS_ROLES", "[]");
        refusal("no role", load(None, None, Nothing {}));
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn what_is_printed_hides_passwords() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("COMMS_DATABASE__URL", "postgres://shop:hun@ter2@db/shop");
        jail.set_env("COMMS_KAFKA__BROKERS", "k:9092");
        jail.create_file("app.toml", "[kafka.librdkafka]\n\"sasl.password\" = \"hunter2\"\n")?;
        let shown = load(None, Some(Path::new("app.toml")), Nothing {}).unwrap().redacted().unwrap();
        assert!(
            shown.contains("postgres://shop:[redacted]@db/shop") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert!(!shown.contains("hun@ter2"));
        jail.set_env("COMMS_DATABASE__URL", "postgres://db/shop?user=shop&password=hunter2");
        let shown = load(None, None, Nothing {}).unwrap().redacted().unwrap();
        assert!(shown.contains("postgres://db/shop?[redacted]"), "{shown}");
        Ok(())
    });
}
