//! `wss`: the server's certificate is verified.

use std::sync::Arc;

use comms_ws::client::{Client, Item};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::support::{Peer, Server};

#[tokio::test]
async fn a_server_is_trusted_if_its_certificate_is() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server_config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server_config =
        server_config.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(server_config.unwrap()));
    let server = Server::start().await;
    let port = server.url.split(':').nth(2).unwrap();
    let start = |roots: RootCertStore| {
        let config =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        Client::builder(format!("wss://localhost:{port}")).tls(Arc::new(config)).connect().unwrap().1
    };

    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut events = start(roots);
    let mut peer = Peer::accept(acceptor.accept(server.tcp().await).await.unwrap()).await;
    peer.welcome("a:1:0:m", None).await;
    assert!(matches!(events.next().await, Some(Ok(Item::Connected { .. }))));

    let mut events = start(RootCertStore::empty());
    assert!(acceptor.accept(server.tcp().await).await.is_err());
    let item = events.next().await.unwrap().unwrap();
    let Item::Disconnected { reason, .. } = item else { panic!("connected: {item:?}") };
    assert!(reason.chain().to_string().contains("UnknownIssuer"), "{}", reason.chain());
}
