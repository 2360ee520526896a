//! The section `[tls]`.

use figment::Jail;

use super::*;

/// Loads the configuration with the environment `variables`.
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn loaded(variables: &[(&str, &str)]) -> Result<Config, String> {
    let mut result = None;
    Jail::expect_with(|jail| {
        jail.clear_env();
        variables.iter().for_each(|(key, value)| jail.set_env(key, value));
        result = Some(load(None, None, NoOverrides {}));
        Ok(())
    });
    result.unwrap().map_err(|error| error.chain().to_string())
}

const FILES: [(&str, &str); 2] = [("COMMS_TLS__MODE", "files"), ("COMMS_TLS__AUTHORITY", "ca.pem")];
/// A process of order-service alone.
const ORDER: [(&str, &str); 5] = [
    ("COMMS_ROLES", "[order]"),
    ("COMMS_KAFKA__BROKERS", "k:9092"),
    ("COMMS_AUTH__PUBLIC_KEY_FILE", "key.pem"),
    ("COMMS_PAYMENT__URL", "https://p:7102"),
    ("COMMS_AD__URL", "https://a:7103"),
];

#[test]
fn every_grpc_connection_has_tls_by_default() {
    let config = loaded(&[]).unwrap();
    assert_eq!(config.tls.mode, TlsMode::Development);
    assert_eq!(config.tls.directory(&config.data_dir), Path::new("data/tls"));
    assert_eq!(
        ["https", "http", "ws"],
        [Protocol::Grpc, Protocol::Http, Protocol::Sockets].map(|p| config.scheme(p))
    );
    let off = loaded(&[("COMMS_TLS__MODE", "off"), ("COMMS_ORDER__URL", "http://o:7101")]).unwrap();
    assert_eq!(off.scheme(Protocol::Grpc), "http");
    let refused = loaded(&[("COMMS_TLS__MODE", "off"), ("COMMS_ORDER__URL", "https://o:7101")]).unwrap_err();
    assert!(refused.contains("COMMS_ORDER__URL") && refused.contains("because tls.mode is off"), "{refused}");
}

#[test]
fn processes_of_different_roles_share_the_development_authority() {
    let refused = loaded(&ORDER).unwrap_err();
    assert!(refused.contains("COMMS_TLS__DIRECTORY"), "{refused}");
    loaded(&[&ORDER[..], &[("COMMS_TLS__DIRECTORY", "/shared/tls")]].concat()).unwrap();
}

#[test]
fn the_mode_files_needs_a_certificate_of_each_service() {
    let with = |more: &[(&str, &str)]| loaded(&[&ORDER[..], &FILES[..], more].concat());
    let key = ("COMMS_TLS__KEY", "tls.key");
    let certificate = ("COMMS_TLS__CERTIFICATE", "tls.crt");
    let config = with(&[certificate, key]).unwrap();
    assert_eq!(config.tls.files("order").unwrap().key, Path::new("tls.key"));
    let own =
        [("COMMS_TLS__SERVICES__ORDER__CERTIFICATE", "o.crt"), ("COMMS_TLS__SERVICES__ORDER__KEY", "o.key")];
    let config = with(&own).unwrap();
    assert_eq!(config.tls.files("order").unwrap().certificate, Path::new("o.crt"));
    let shown = config.redacted().unwrap();
    assert!(shown.contains("certificate = \"o.crt\"") && !shown.contains("o.key"), "{shown}");

    for (more, parts) in [
        (vec![], ["COMMS_TLS__SERVICES__ORDER__CERTIFICATE", "order"]),
        (vec![certificate], ["tls.certificate and tls.key", "both"]),
        (vec![own[0]], ["tls.services.order.key", "COMMS_TLS__SERVICES__ORDER__KEY"]),
        (vec![("COMMS_TLS__SERVICES__ODER__KEY", "x")], ["COMMS_TLS__SERVICES__ODER", "certificate"]),
    ] {
        let refused = with(&more).unwrap_err();
        assert!(parts.iter().all(|part| refused.contains(part)), "{more:?}: {refused}");
    }
    let unknown = [("COMMS_TLS__SERVICES__ODER__KEY", "x"), ("COMMS_TLS__SERVICES__ODER__CERTIFICATE", "x")];
    let refused = with(&unknown).unwrap_err();
    assert!(
        refused.contains("COMMS_TLS__SERVICES__ODER") && refused.contains("COMMS_TLS__SERVICES__ORDER"),
        "{refused}"
    );
    let refused = loaded(&[&ORDER[..], &FILES[..1], &[certificate, key]].concat()).unwrap_err();
    assert!(refused.contains("COMMS_TLS__AUTHORITY"), "{refused}");
    let refused = loaded(&[&FILES[..], &[certificate, key]].concat()).unwrap_err();
    assert!(refused.contains("identity of one service"), "{refused}");
}
