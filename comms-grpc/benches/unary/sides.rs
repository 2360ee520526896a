//! The servers and the channels of both sides.

use comms_core::clock::Clock;
use comms_grpc::{
    Channel, ServerConfig, serve,
    tls::{ClientTls, Identity, ServerTls, Trust},
    tonic,
};
use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{self, Certificate, ClientTlsConfig, Endpoint, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::echo::Echo;
use test_pki::{Leaf, Pki};

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../src/tls/test_pki.rs"]
mod test_pki;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    /// Both sides present a certificate. The certificates and the provider of both channels are the same.
    MutualTls,
}

/// A channel to a server of the same side.
pub(crate) struct Sides {
    pub(crate) ours: Channel,
    pub(crate) tonic: transport::Channel,
}

impl Sides {
    pub(crate) async fn start(security: Security) -> Self {
        let tls = (security == Security::MutualTls).then(Certificates::new);
        Self { ours: ours(tls.as_ref()).await, tonic: of_tonic(tls.as_ref()).await }
    }
}

struct Certificates {
    authority: Pki,
    server: Leaf,
    client: Leaf,
}

impl Certificates {
    fn new() -> Self {
        let authority = Pki::new("bench");
        Self { server: authority.leaf("server"), client: authority.leaf("client"), authority }
    }
}

async fn ours(tls: Option<&Certificates>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut config, mut channel) =
        (ServerConfig::default(), Channel::builder(format!("http://127.0.0.1:{port}")));
    if let Some(tls) = tls {
        let server = ServerTls::new(tls.server.identity()).client_trust(tls.authority.trust());
        let client = ClientTls::new(tls.authority.trust()).identity(tls.client.identity());
        config = config.tls(server);
        channel = Channel::builder(format!("https://127.0.0.1:{port}")).tls(client.server_name("localhost"));
    }
    tokio::spawn(serve(listener, Routes::new(Echo), config, Clock::system(), std::future::pending()));
    channel.build().unwrap()
}

async fn of_tonic(tls: Option<&Certificates>) -> transport::Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = Server::builder();
    let mut endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    if let Some(tls) = tls {
        let authority = || Certificate::from_pem(&tls.authority.pem);
        let identity = |leaf: &Leaf| transport::Identity::from_pem(&leaf.certificate, &leaf.key);
        let config = ServerTlsConfig::new().identity(identity(&tls.server)).client_ca_root(authority());
        server = server.tls_config(config).unwrap();
        let config = ClientTlsConfig::new().ca_certificate(authority()).identity(identity(&tls.client));
        endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
        endpoint = endpoint.tls_config(config.domain_name("localhost")).unwrap();
    }
    tokio::spawn(server.add_service(Echo).serve_with_incoming(incoming));
    endpoint.connect().await.unwrap()
}
