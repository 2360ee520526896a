//! The identity of an admitted client.

use comms_core::clock::Clock;
use comms_grpc::{
    PeerIdentity, Protocols, ServerConfig, serve,
    tls::ServerTls,
    tonic::{self, server::NamedService, service::Routes},
};
use http::{Request, Response};
use rcgen::SanType;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::rustls;

use crate::support::{Client, Pki, Server, self_signed};

#[tokio::test]
async fn a_listener_sees_the_id_of_each_client() {
    let pki = Pki::new("a");
    for protocols in [Protocols::Http, Protocols::Http2] {
        let server = Server::mutual(&pki, |config| config.protocols = protocols).await;
        for role in ["order", "ad"] {
            for version in rustls::ALL_VERSIONS {
                let mut client = Client::new(&pki, pki.leaf(role));
                client.versions = vec![version];
                assert_eq!(client.get(server.address, "/id").await, format!("id: spiffe://shop.test/{role}"));
            }
        }
        let two_ids = pki.leaf_with("order", |params| {
            params.subject_alt_names.push(SanType::URI("spiffe://shop.test/ad".try_into().unwrap()));
        });
        assert_eq!(Client::new(&pki, two_ids).get(server.address, "/id").await, "id: none");
    }
}

#[tokio::test]
async fn optional_certificates_admit_clients_without_one_and_refuse_wrong_ones() {
    let pki = Pki::new("a");
    let tls = ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust());
    let server = Server::with_tls(tls.optional_client_certificates(), |_| {}).await;
    assert_eq!(Client::new(&pki, None).get(server.address, "/id").await, "id: none");
    let order = Client::new(&pki, pki.leaf("order"));
    assert_eq!(order.get(server.address, "/id").await, "id: spiffe://shop.test/order");
    let refusal = Client::new(&pki, self_signed("order")).refusal(server.address).await;
    assert!(refusal.contains("UnknownCA"), "{refusal}");
}

/// A listener that requests no certificate admits every client, and gives none an identity.
#[tokio::test]
async fn without_a_client_trust_no_client_has_an_identity() {
    let pki = Pki::new("a");
    let server = Server::with_tls(ServerTls::new(pki.leaf("payment").identity()), |_| {}).await;
    for leaf in [None, Some(pki.leaf("order")), Some(self_signed("order"))] {
        assert_eq!(Client::new(&pki, leaf).get(server.address, "/id").await, "id: none");
    }
}

#[tokio::test]
async fn http1_and_upgrades_work_over_tls() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.protocols = Protocols::Http).await;
    let client = Client::new(&pki, pki.leaf("order")).http1();
    let mut stream = client.connect(server.address).await.unwrap();
    stream.write_all(b"GET /id HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    // The end is a close_notify: a missing one would be an error.
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("id: spiffe://shop.test/order"), "{text}");

    let mut stream = client.connect(server.address).await.unwrap();
    let upgrade = b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(upgrade).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

/// Returns the id that it finds in the extensions of the request.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl tower::Service<Request<tonic::body::Body>> for WhoAmI {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let id =
            request.extensions().get::<PeerIdentity>().and_then(|identity| identity.spiffe_id.as_deref());
        let mut response = tonic::Status::ok("").into_http();
        response.headers_mut().insert("id", id.unwrap_or("none").parse().unwrap());
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn a_grpc_handler_finds_the_identity_in_the_extensions_of_its_request() {
    let pki = Pki::new("a");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust());
    let config = ServerConfig::default().tls(tls.optional_client_certificates());
    tokio::spawn(serve(listener, Routes::new(WhoAmI), config, Clock::system(), std::future::pending()));
    for (leaf, expected) in [(Some(pki.leaf("order")), "spiffe://shop.test/order"), (None, "none")] {
        let (client, _connection) = Client::new(&pki, leaf).http2(address, 65_535).await;
        let request = Request::post("https://localhost/test.WhoAmI/Get")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = request.body(()).unwrap();
        let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().headers()["id"], expected);
    }
}
