//! Credentials, TLS, and a server whose memory is used up.

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock};
use comms_ws::backplane::{Redis, RedisConfig, Retention};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    node::KEEP,
    server::{Server, config, node},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn refused_credentials_are_a_deployment_fault_and_are_not_printed() {
    let server = Server::start(&[]).await;
    let mut client = server.client().await;
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("sesame").clone();
    set.exec_async(&mut client).await.unwrap();
    for user in [":hunter2@", ""] {
        let refused = node(config(&format!("redis://{user}127.0.0.1:{}", server.port)));
        let error = refused.try_publish("t", "m", "m", Some(KEEP)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
        assert!(!format!("{error:?} {}", error.chain()).contains("hunter2"));
    }
    let admitted = node(config(&format!("redis://:sesame@127.0.0.1:{}", server.port)));
    admitted.publish("t", "m").await;
}

/// Nothing is written of a message that does not fit: its repetition has the next offset.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn used_up_memory_refuses_a_publication_whole() {
    let server = Server::start(&[]).await;
    let a = node(server.config());
    let start = a.publish("t", "first").await;
    let mut client = server.client().await;
    let mut memory = async |bytes: u64| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut client).await.unwrap();
    };
    memory(1).await;
    for topic in ["t", "new"] {
        let error = a.try_publish(topic, "second", "second", Some(KEEP)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotExecuted, "{}", error.chain());
    }
    memory(0).await;
    let second = a.publish("t", "second").await;
    assert_eq!((second.epoch, second.offset), (start.epoch, 2));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn tls_needs_a_provider_and_the_right_authority() {
    let url = "rediss://localhost:1";
    let error = Redis::new(RedisConfig::new([url]), Clock::system()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();

    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let mut server = Server::stopped(&["--tls-auth-clients", "no"]);
    let tls_port = Server::stopped(&[]).port;
    for (name, pem) in [("cert", certificate.pem()), ("key", key.serialize_pem()), ("ca", ours.pem())] {
        let path = server.directory.path().join(name);
        std::fs::write(&path, pem).unwrap();
        let option = if name == "ca" { "--tls-ca-cert-file".into() } else { format!("--tls-{name}-file") };
        server.options.extend([option, path.to_str().unwrap().to_owned()]);
    }
    server.options.extend(["--tls-port".to_owned(), tls_port.to_string()]);
    server.restart().await;

    let url = format!("rediss://localhost:{tls_port}");
    let trusting = node(config(&url).root_certificates(ours.pem()));
    trusting.subscribe("t").await;
    trusting.publish("t", "m").await;
    trusting.recorder.until_count("t", 1).await;
    for refused in [config(&url), config(&url).root_certificates(other.pem())] {
        let refused = node(refused.connect_timeout(Duration::from_secs(10)));
        assert!(refused.try_publish("t", "m", "m", Some(KEEP)).await.is_err());
    }
    let error = Redis::new(config(&url).root_certificates("no certificate"), Clock::system());
    assert!(error.is_err());
}

/// Returns the rights that the documentation of `Redis` lists.
fn documented_rights() -> Vec<&'static str> {
    let source = include_str!("../../src/backplane/redis/mod.rs");
    let (_, rights) = source.split_once("/// ACL SETUSER hub on >secret ").unwrap();
    let (rights, _) = rights.split_once("```").unwrap();
    rights.split_whitespace().filter(|word| *word != "///").collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_user_needs_the_documented_rights_alone() {
    let server = Server::start(&[]).await;
    let mut client = server.client().await;
    let rights = documented_rights();
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("hub").arg("on").arg(">secret").arg(&rights);
    user.exec_async(&mut client).await.unwrap();

    let config = config(&format!("redis://hub:secret@127.0.0.1:{}", server.port));
    let config = config.check_interval(Duration::from_millis(20)).ping_interval(Duration::from_millis(20));
    let ours = || node(config.clone().prefix("shop"));
    let (a, b) = (ours(), ours());
    a.backplane.subscribe("plain", None).await.unwrap();
    let start = a.subscribe("t").await;
    let short = Retention { age: Duration::from_millis(1), ..KEEP };
    for n in 0..40 {
        let retention = if n > 20 { short } else { KEEP };
        b.try_publish("t", &n.to_string(), "m", Some(retention)).await.unwrap();
    }
    b.try_publish("plain", "m", "m", None).await.unwrap();
    a.recorder.until_count("plain", 1).await;
    a.recorder.until_count("t", 40).await;
    a.history("t", start).await;
    assert!(a.backplane.claim("c", KEEP.age).await.unwrap());
    for lifetime in [KEEP.age, Duration::ZERO] {
        a.backplane.set_present("t", 1, &["ann".into()], lifetime).await.unwrap();
        b.backplane.present("t", 10).await.unwrap();
    }
    a.backplane.unsubscribe("plain");
    a.subscribe("u").await;
    assert_eq!(a.recorder.interruptions(), 0);
    let refused: Vec<Vec<(String, redis::Value)>> =
        redis::cmd("ACL").arg("LOG").query_async(&mut client).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let used: String = redis::cmd("INFO").arg("commandstats").query_async(&mut client).await.unwrap();
    for command in rights.iter().filter_map(|right| right.strip_prefix('+')) {
        assert!(used.contains(&format!("cmdstat_{command}:")), "{command} is not needed: {used}");
    }

    let other = node(config.prefix("other"));
    let error = other.try_publish("t", "m", "m", Some(KEEP)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
}
