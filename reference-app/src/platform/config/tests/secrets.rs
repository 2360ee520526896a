//! Values that may be secret appear neither in the printed configuration nor in errors.

use std::path::Path;

use figment::Jail;

use super::{NoOverrides, load};

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn the_printed_configuration_hides_passwords() {
    Jail::expect_with(|jail| {
        jail.clear_env();
        jail.set_env("COMMS_DATABASE__URL", "postgres://shop:hun@ter2@db/shop");
        jail.set_env("COMMS_KAFKA__BROKERS", "k:9092");
        jail.create_file("app.toml", "[kafka.librdkafka]\n\"sasl.password\" = \"hunter2\"\n")?;
        let shown = load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap().redacted().unwrap();
        assert!(shown.contains("url = \"[redacted]\"") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("hun@ter2"));
        jail.set_env("COMMS_DATABASE__URL", "postgres://db/shop?user=shop&password=hunter2");
        let shown = load(None, None, NoOverrides {}).unwrap().redacted().unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        Ok(())
    });
}

#[test]
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn no_error_contains_a_value_that_may_be_secret() {
    let files = [
        "[database]\nurl = \"postgres://shop:hunter2@db/shop\n",
        "[database]\nurl = 'hunter2\n",
        "[database]\nurl = hunter2\n",
        "[kafka]\nbrokers = \"k:9092\"\n[kafka.librdkafka]\n\"sasl.password\" = 12345678\n",
        "[kafka]\nbrokers = \"k:9092\"\nlibrdkafka = \"hunter2\"\n",
        "database = \"postgres://shop:hunter2@db/shop\"\n",
        "[database]\nurl = [\"hunter2\"]\n",
        "[database]\nurl = 12345678\n",
        "hunter2",
        "[database]\nurl = { password = \"hunter2\" }\n",
    ];
    for file in files {
        Jail::expect_with(|jail| {
            jail.clear_env();
            jail.create_file("app.toml", file)?;
            let error =
                load(None, Some(Path::new("app.toml")), NoOverrides {}).unwrap_err().chain().to_string();
            assert!(!error.contains("hunter2") && !error.contains("12345678"), "{file}: {error}");
            assert!(error.contains("app.toml"), "{file}: {error}");
            Ok(())
        });
    }
    for (variable, value) in [
        ("COMMS_DATABASE", "postgres://shop:hunter2@db/comms"),
        ("COMMS_DATABASE__URL", "12345678"),
        ("COMMS_DATABASE__URL", "[\"hunter2\"]"),
        ("COMMS_KAFKA", "hunter2"),
    ] {
        Jail::expect_with(|jail| {
            jail.clear_env();
            jail.set_env(variable, value);
            let error = load(None, None, NoOverrides {}).unwrap_err().chain().to_string();
            assert!(!error.contains("hunter2") && !error.contains("12345678"), "{variable}: {error}");
            assert!(error.contains(variable), "{variable}: {error}");
            Ok(())
        });
    }
}
