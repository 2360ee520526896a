//! Checks that librdkafka was built with what the settings need.

use rdkafka::ClientConfig;

use comms_core::Error;

/// The client's default of `sasl.mechanism`.
const DEFAULT_MECHANISM: &str = "GSSAPI";

/// Returns an error that names the missing feature of this crate if `settings` cannot work without it.
///
/// The client reports some of these settings only when it is created, which a consumer does when it runs.
pub(super) fn check(settings: &ClientConfig) -> Result<(), Error> {
    let native = ClientConfig::new().create_native_config().map_err(Error::internal)?;
    let built = native.get("builtin.features").map_err(Error::internal)?;
    check_with(settings, &built)
}

/// As [`check`]. `built`: the parts of librdkafka, in the form of `builtin.features`.
fn check_with(settings: &ClientConfig, built: &str) -> Result<(), Error> {
    let value = |keys: &[&'static str]| {
        keys.iter().find_map(|key| Some((*key, settings.get(key)?.to_ascii_lowercase())))
    };
    if let Some((key, codec)) = value(&["compression.type", "compression.codec"])
        && codec == "zstd"
    {
        require(built, "zstd", "zstd", key, "zstd")?;
    }
    let key = "security.protocol";
    let Some((_, protocol)) = value(&[key]) else { return Ok(()) };
    if protocol.ends_with("ssl") {
        require(built, "ssl", "ssl", key, &protocol)?;
    }
    if !protocol.starts_with("sasl_") {
        return Ok(());
    }
    let key = "sasl.mechanism";
    let mechanism =
        settings.get("sasl.mechanisms").or_else(|| settings.get(key)).unwrap_or(DEFAULT_MECHANISM);
    match mechanism {
        "PLAIN" => Ok(()),
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => require(built, "sasl_scram", "sasl", key, mechanism),
        "OAUTHBEARER" => require(built, "sasl_oauthbearer", "sasl", key, mechanism),
        DEFAULT_MECHANISM => require(built, "sasl_gssapi", "gssapi", key, "GSSAPI (the default)"),
        _ => Err(Error::invalid(format!(
            "librdkafka.\"{key}\" must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI"
        ))),
    }
}

fn require(built: &str, part: &str, feature: &str, key: &str, value: &str) -> Result<(), Error> {
    if built.split(',').any(|built| built == part) {
        return Ok(());
    }
    let text = format!("librdkafka.\"{key}\" is {value}, which needs the feature `{feature}` of comms-kafka");
    Err(Error::misconfigured(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::ErrorKind;

    /// The parts that librdkafka has without any feature.
    const LEAST: &str = "gzip,snappy,sasl,regex,lz4,sasl_plain,plugins";

    fn with(settings: &[(&str, &str)], built: &str) -> Result<(), String> {
        let mut client = ClientConfig::new();
        client.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        check_with(&client, built).map_err(|error| format!("{:?}: {error}", error.kind))
    }

    #[test]
    fn a_setting_that_was_not_built_is_refused_with_the_name_of_the_feature() {
        let (protocol, mechanism) = ("security.protocol", "sasl.mechanism");
        for (settings, part, feature) in [
            (&[("compression.type", "zstd")][..], "zstd", "zstd"),
            (&[("compression.codec", "ZSTD")], "zstd", "zstd"),
            (&[(protocol, "SSL")], "ssl", "ssl"),
            (&[(protocol, "sasl_ssl"), (mechanism, "PLAIN")], "ssl", "ssl"),
            (&[(protocol, "SASL_PLAINTEXT"), (mechanism, "SCRAM-SHA-256")], "sasl_scram", "sasl"),
            (&[(protocol, "SASL_PLAINTEXT"), ("sasl.mechanisms", "SCRAM-SHA-512")], "sasl_scram", "sasl"),
            (&[(protocol, "SASL_PLAINTEXT"), (mechanism, "OAUTHBEARER")], "sasl_oauthbearer", "sasl"),
            (&[(protocol, "SASL_PLAINTEXT"), (mechanism, "GSSAPI")], "sasl_gssapi", "gssapi"),
            (&[(protocol, "SASL_PLAINTEXT")], "sasl_gssapi", "gssapi"),
        ] {
            let refused = with(settings, LEAST).unwrap_err();
            assert!(refused.starts_with(&format!("{:?}", ErrorKind::Misconfigured)), "{refused}");
            assert!(refused.contains(&format!("the feature `{feature}`")), "{settings:?}: {refused}");
            assert_eq!(with(settings, &format!("{LEAST},{part}")), Ok(()), "{settings:?}");
        }
    }

    #[test]
    fn settings_that_need_no_feature_are_accepted() {
        for settings in [
            &[][..],
            &[("compression.type", "lz4")],
            &[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")],
            // Not used without a security protocol of SASL.
            &[("sasl.mechanism", "GSSAPI")],
        ] {
            assert_eq!(with(settings, LEAST), Ok(()), "{settings:?}");
        }
        let unknown = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "scram-sha-256")];
        let refused = with(&unknown, LEAST).unwrap_err();
        assert!(
            refused.starts_with(&format!("{:?}", ErrorKind::Invalid)) && refused.contains("SCRAM-SHA-256")
        );
    }

    /// Each feature of this crate adds its parts of librdkafka.
    #[test]
    fn the_features_of_this_build_are_there() {
        for (is_enabled, settings) in [
            (cfg!(feature = "zstd"), &[("compression.type", "zstd")][..]),
            (cfg!(feature = "ssl"), &[("security.protocol", "SSL")]),
            (
                cfg!(feature = "sasl"),
                &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512")],
            ),
            (cfg!(feature = "sasl"), &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")]),
            (cfg!(feature = "gssapi"), &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "GSSAPI")]),
        ] {
            let mut client = ClientConfig::new();
            client.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            // An application may have enabled more in rdkafka.
            assert!(check(&client).is_ok() || !is_enabled, "{settings:?}");
        }
    }
}
