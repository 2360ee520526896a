//! A process that installed no cryptography provider. A test of its own, because the provider is of the process.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use comms_core::{ErrorKind, clock::Clock};
use comms_grpc::{
    ServerConfig, serve,
    tls::{Identity, ServerTls},
    tonic::service::Routes,
};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_missing_provider_is_an_error_that_names_the_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ServerConfig::default().tls(ServerTls::new(Identity::from_pem("", "")));
    let result = serve(listener, Routes::default(), config, Clock::system(), std::future::pending()).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.chain().to_string().contains("install_default()"), "{}", error.chain());
}
