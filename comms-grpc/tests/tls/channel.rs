//! A channel with TLS: what it accepts, and what it tells the operator.

use std::{net::SocketAddr, time::Duration};

use comms_core::{ErrorKind, clock::Clock};
use comms_grpc::{
    Access, Caller, Channel, Server, ServerConfig, from_status,
    tls::{ClientTls, PeerName, ServerTls},
    tonic::service::Routes,
};
use tokio::net::TcpListener;

use crate::{
    calls::{TestService, call},
    support::{Pki, log::Log},
};

/// Starts a server that requires certificates of `pki`, and admits only the role `order`.
async fn payment(pki: &Pki) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust());
    let access = Access::builder().allow("/test.Service/*", [Caller::spiffe_id("spiffe://shop.test/order")]);
    let server = Server::new(Routes::new(TestService::default()))
        .config(ServerConfig::default().tls(tls))
        .service_names(["test.Service"])
        .authorize(access.build().unwrap());
    tokio::spawn(server.serve(listener, std::future::pending()));
    address
}

fn channel(address: SocketAddr, tls: ClientTls) -> Channel {
    let uri = format!("https://localhost:{}", address.port());
    Channel::builder(uri)
        .peer("payment")
        .timeout(Duration::from_secs(5))
        .tls(tls)
        .without_policy()
        .build()
        .unwrap()
}

/// Makes a call, and returns the kind and the text of its failure.
async fn outcome(channel: &Channel) -> Result<(), (ErrorKind, String)> {
    let result = call(channel, "report", 0).await;
    result.map(drop).map_err(|status| (from_status(&status).kind, status.message().to_owned()))
}

#[tokio::test]
async fn a_channel_with_the_right_identity_is_admitted() {
    let pki = Pki::new("a");
    let address = payment(&pki).await;
    let tls = || ClientTls::new(pki.trust()).identity(pki.leaf("order").identity());
    assert_eq!(outcome(&channel(address, tls())).await, Ok(()));
    let named = PeerName::spiffe("spiffe://shop.test/payment").unwrap();
    assert_eq!(outcome(&channel(address, tls().expect(named))).await, Ok(()));
}

/// Each failure happens before the call is sent, and its text names what must be repaired.
#[tokio::test]
async fn a_handshake_that_fails_is_not_executed_and_names_its_cause() {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let address = payment(&pki).await;
    let identity = || pki.leaf("order").identity();
    let of_ad = PeerName::spiffe("spiffe://shop.test/ad").unwrap();
    let cases = [
        ("no certificate", ClientTls::new(pki.trust()), "certificate"),
        (
            "a certificate of another authority",
            ClientTls::new(pki.trust()).identity(other.leaf("order").identity()),
            "authority",
        ),
        ("a server of another authority", ClientTls::new(other.trust()).identity(identity()), "authority"),
        (
            "a server of another role",
            ClientTls::new(pki.trust()).identity(identity()).expect(of_ad),
            "spiffe://shop.test/payment",
        ),
        (
            "a server of another name",
            ClientTls::new(pki.trust()).identity(identity()).server_name("elsewhere.test"),
            "elsewhere.test",
        ),
    ];
    for (name, tls, text) in cases {
        let (kind, message) = outcome(&channel(address, tls)).await.unwrap_err();
        assert_eq!(kind, ErrorKind::NotExecuted, "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
    }
}

/// The right name of another role passes the handshake, and the rules of access refuse the call.
#[tokio::test]
async fn another_role_may_connect_and_may_not_call() {
    let pki = Pki::new("a");
    let address = payment(&pki).await;
    let ad = channel(address, ClientTls::new(pki.trust()).identity(pki.leaf("ad").identity()));
    let (log, _guard) = Log::record();
    for _ in 0..3 {
        let (kind, message) = outcome(&ad).await.unwrap_err();
        assert_eq!(
            (kind, message.as_str()),
            (ErrorKind::Misconfigured, "the caller may not call this method")
        );
    }
    let lines = log.lines("no rule of access permits it");
    assert!(lines.len() == 3 && lines[0].contains("spiffe://shop.test/ad"), "{lines:?}");
    let warnings = lines.iter().filter(|line| line.starts_with("WARN")).count();
    assert_eq!(warnings, 1, "{lines:?}");
}

#[tokio::test]
async fn plain_text_and_tls_do_not_meet() {
    let pki = Pki::new("a");
    let address = payment(&pki).await;
    let plain = Channel::builder(format!("http://{address}")).without_policy().build().unwrap();
    let (kind, message) = outcome(&plain).await.unwrap_err();
    assert_eq!(kind, ErrorKind::NotExecuted, "{message}");
    let tls = ClientTls::new(pki.trust());
    let refused = Channel::builder(format!("http://{address}")).tls(tls.clone()).build().unwrap_err();
    assert!(refused.to_string().contains("https://"), "{refused}");
    let refused = Channel::builder(format!("https://{address}")).build().unwrap_err();
    assert!(refused.to_string().contains("ChannelBuilder::tls"), "{refused}");
    // A server without TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (routes, config) = (Routes::new(TestService::default()), ServerConfig::default());
    tokio::spawn(comms_grpc::serve(listener, routes, config, Clock::system(), std::future::pending()));
    let (kind, message) = outcome(&channel(address, tls)).await.unwrap_err();
    assert_eq!(kind, ErrorKind::NotExecuted, "{message}");
}
