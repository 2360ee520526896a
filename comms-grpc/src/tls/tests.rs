//! The handshake of the client, against the listener and against servers that are wrong.
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

use std::{
    convert::Infallible, error::Error as StdError, net::SocketAddr, pin::Pin, sync::Arc, time::Duration,
};

use bytes::Bytes;
use comms_core::{ErrorKind, clock::Clock};
use http::{Request, Response};
use http_body::Body as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::server::ResolvesServerCert};

use super::{
    failure::HandshakeFailure,
    test_pki::{Leaf, Pki, now, self_signed},
    *,
};
use crate::{ListenerConfig, Peer, Protocols, RequestBody, listen};

const WAIT: Duration = Duration::from_secs(10);

/// Starts a listener that returns the id of the client.
async fn start(tls: ServerTls) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = |peer: Peer| {
        let id = peer.identity.and_then(|identity| identity.spiffe_id);
        tower::service_fn(move |_: Request<RequestBody>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(
                id.as_deref().unwrap_or_default().to_owned(),
            )))
        })
    };
    let config = ListenerConfig::default().protocols(Protocols::Http2).tls(tls);
    tokio::spawn(listen(listener, service, config, Clock::system(), std::future::pending()));
    address
}

/// Connects, and makes one call over HTTP/2.
async fn call(client: &ClientHandshake, address: SocketAddr) -> Result<String, Box<dyn StdError>> {
    let stream = client.connect("localhost", TcpStream::connect(address).await?).await?;
    request(stream).await
}

async fn request(stream: ClientStream<TcpStream>) -> Result<String, Box<dyn StdError>> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(String::new())?;
    let mut body = sender.send_request(request).await?.into_body();
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        text.extend_from_slice(frame?.data_ref().map_or(&[][..], Bytes::as_ref));
    }
    Ok(String::from_utf8(text)?)
}

/// Returns the failure in the chain of `error`, as the channel reads it.
fn failure(error: &(dyn StdError + 'static)) -> String {
    let failure = HandshakeFailure::of_client(error);
    failure.unwrap_or_else(|| panic!("no failure of TLS: {error:?}")).to_string()
}

fn client(tls: ClientTls) -> ClientHandshake {
    tls.start(&Clock::system()).unwrap()
}

fn spiffe(role: &str) -> PeerName {
    PeerName::spiffe(format!("spiffe://shop.test/{role}")).unwrap()
}

#[tokio::test]
async fn a_client_and_a_server_verify_each_other() {
    let pki = Pki::new("a");
    let address = start(ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust())).await;
    let order = ClientTls::new(pki.trust()).identity(pki.leaf("order").identity());
    for expected in [None, Some(spiffe("payment")), Some(PeerName::dns("localhost").unwrap())] {
        let tls = expected.map_or_else(|| order.clone(), |name| order.clone().expect(name));
        assert_eq!(call(&client(tls), address).await.unwrap(), "spiffe://shop.test/order");
    }
}

/// The error of the client names the fault of the server, and what was expected.
#[tokio::test]
async fn a_wrong_server_is_refused_with_the_reason() {
    type Change = fn(&mut CertificateParams);
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let plain = ClientTls::new(pki.trust());
    let wrong = |change: Change| pki.leaf_with("payment", change);
    let cases: [(Leaf, ClientTls, &[&str]); 9] = [
        (other.leaf("payment"), plain.clone(), &["no trusted authority"]),
        (self_signed("payment"), plain.clone(), &["no trusted authority"]),
        (wrong(|p| p.not_after = now() - time::Duration::seconds(1)), plain.clone(), &["has expired"]),
        (wrong(|p| p.not_before = now() + time::Duration::minutes(1)), plain.clone(), &["not valid yet"]),
        (
            wrong(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            plain.clone(),
            &["serverAuth"],
        ),
        (
            wrong(|p| p.subject_alt_names = vec![SanType::DnsName("ad".try_into().unwrap())]),
            plain.clone(),
            &["expected localhost", "the certificate has ad"],
        ),
        (
            pki.leaf("ad"),
            plain.clone().expect(spiffe("payment")),
            &["expected spiffe://shop.test/payment", "has spiffe://shop.test/ad, localhost"],
        ),
        (
            wrong(|p| p.subject_alt_names.truncate(1)),
            plain.clone().expect(spiffe("payment")),
            &["expected spiffe://shop.test/payment", "has localhost"],
        ),
        (
            pki.leaf("payment"),
            plain.clone().expect(PeerName::dns("payment.example.com").unwrap()),
            &["expected payment.example.com", "has spiffe://shop.test/payment, localhost"],
        ),
    ];
    for (leaf, tls, texts) in cases {
        let address = start_unchecked(&leaf, &[b"h2"]).await;
        let error = call(&client(tls), address).await.unwrap_err();
        let text = failure(&*error);
        assert!(texts.iter().all(|part| text.contains(part)), "{texts:?}: {text}");
    }
}

/// Starts a server that presents any certificate, without the checks of the listener.
async fn start_unchecked(leaf: &Leaf, alpn: &[&[u8]]) -> SocketAddr {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let key = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(key);
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (socket, _) = listener.accept().await.unwrap();
        if let Ok(stream) = acceptor.accept(socket).await {
            sleep(WAIT).await;
            drop(stream);
        }
    });
    address
}

/// With TLS 1.3 the handshake of the client has ended before the server refuses its certificate.
#[tokio::test]
async fn a_client_learns_why_the_server_refuses_its_certificate() {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let address = start(ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust())).await;
    let plain = ClientTls::new(pki.trust());
    let cases = [
        (plain.clone(), "set ClientTls::identity"),
        (plain.clone().identity(other.leaf("order").identity()), "does not trust the authority"),
        (
            plain.clone().identity(
                pki.leaf_with("order", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])
                    .identity(),
            ),
            "refuses the certificate of this process",
        ),
    ];
    for (tls, text) in cases {
        let error = timeout(WAIT, call(&client(tls), address)).await.unwrap().unwrap_err();
        // h2 keeps nothing of the error but its text.
        assert!(format!("{error:?}").contains(text), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_without_h2_or_without_tls_is_refused() {
    let pki = Pki::new("a");
    let tls = client(ClientTls::new(pki.trust()));
    let no_alpn = start_unchecked(&pki.leaf("payment"), &[]).await;
    let error = call(&tls, no_alpn).await.unwrap_err();
    assert!(failure(&*error).contains("selected no h2"), "{error}");
    let http1 = start_unchecked(&pki.leaf("payment"), &[b"http/1.1"]).await;
    let error = call(&tls, http1).await.unwrap_err();
    assert!(failure(&*error).contains("does not speak HTTP/2"), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        sleep(WAIT).await;
    });
    let error = call(&tls, plain).await.unwrap_err();
    assert!(failure(&*error).contains("does not use TLS"), "{error}");
}

/// The certificate has an address. The host of a URI has brackets around one of IPv6.
#[tokio::test]
async fn hosts_can_be_addresses_and_can_be_replaced() {
    let pki = Pki::new("a");
    let leaf = pki.leaf_with("payment", |params| {
        params.subject_alt_names =
            ["127.0.0.1", "::1"].map(|ip| SanType::IpAddress(ip.parse().unwrap())).to_vec();
    });
    let address = start(ServerTls::new(leaf.identity())).await;
    let tls = client(ClientTls::new(pki.trust()));
    let socket = async || TcpStream::connect(address).await.unwrap();
    for host in ["127.0.0.1", "::1", "[::1]"] {
        tls.connect(host, socket().await).await.unwrap();
    }
    let error = tls.connect("localhost", socket().await).await.unwrap_err();
    assert!(error.to_string().contains("has 127.0.0.1, ::1"), "{error}");
    let error = tls.connect("not a host", socket().await).await.unwrap_err();
    assert!(error.to_string().contains("set ClientTls::server_name"), "{error}");
    let replaced = client(ClientTls::new(pki.trust()).server_name("127.0.0.1"));
    replaced.connect("not a host", socket().await).await.unwrap();
    let invalid = ClientTls::new(pki.trust()).server_name("not a host").start(&Clock::system());
    assert_eq!(invalid.unwrap_err().kind, ErrorKind::Invalid);
}

/// The time of the check is that of the injected clock, at each handshake.
#[tokio::test]
async fn a_clock_that_jumps_over_the_expiry_ends_the_trust_in_new_handshakes() {
    let pki = Pki::new("a");
    let address = start(ServerTls::new(pki.leaf("payment").identity())).await;
    let clock = Clock::manual(Clock::system().unix());
    let tls = ClientTls::new(pki.trust()).start(&clock).unwrap();
    let connect = async || tls.connect("localhost", TcpStream::connect(address).await.unwrap()).await;
    connect().await.unwrap();
    clock.advance(Duration::from_secs(2 * 3_600));
    let error = connect().await.unwrap_err();
    assert!(error.to_string().contains("has expired"), "{error}");
}

/// The client follows its files as the listener does.
#[tokio::test]
async fn a_client_uses_a_replaced_trust_and_certificate_for_new_connections() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |trust: &Pki, leaf: &Leaf| {
        std::fs::write(path("ca.crt"), &trust.pem).unwrap();
        std::fs::write(path("tls.crt"), &leaf.certificate).unwrap();
        std::fs::write(path("tls.key"), &leaf.key).unwrap();
    };
    write(&old, &old.leaf("order"));
    let poll = Duration::from_millis(10);
    let trust = Trust::from_pem_file(path("ca.crt")).check_every(poll);
    let identity = Identity::from_pem_files(path("tls.crt"), path("tls.key")).check_every(poll);
    let tls = client(ClientTls::new(trust).identity(identity));
    let of_old = start(ServerTls::new(old.leaf("payment").identity()).client_trust(old.trust())).await;
    let of_new = start(ServerTls::new(new.leaf("payment").identity()).client_trust(new.trust())).await;
    assert_eq!(call(&tls, of_old).await.unwrap(), "spiffe://shop.test/order");
    call(&tls, of_new).await.unwrap_err();
    write(&new, &new.leaf("order-2"));
    let replaced = async {
        while call(&tls, of_new).await.ok().as_deref() != Some("spiffe://shop.test/order-2") {
            sleep(poll).await;
        }
    };
    timeout(WAIT, replaced).await.expect("the files are read again");
    call(&tls, of_old).await.unwrap_err();
}

/// A file whose line breaks were lost is one line, which begins like a certificate and holds the key.
#[tokio::test]
async fn no_error_of_a_file_holds_its_key() {
    let pki = Pki::new("a");
    let leaf = pki.leaf("order");
    let (joined, both) = (leaf.key.replace('\n', "\\n"), format!("{}{}", leaf.key, leaf.certificate));
    for pem in [
        joined,
        leaf.key.replace('\n', " "),
        both.replace('\n', "\\n"),
        leaf.key[..leaf.key.len() / 2].to_owned(),
    ] {
        let secret = &leaf.key.lines().nth(1).unwrap()[..16];
        let bytes = format!("{:?}", secret.as_bytes());
        let identity = ServerTls::new(Identity::from_pem(pem.clone(), pem.clone()));
        let trust = ServerTls::new(leaf.identity()).client_trust(Trust::from_pem(pem));
        for tls in [identity, trust] {
            let Err(error) = tls.start(&[b"h2"], true, &Clock::system()) else {
                panic!("the file cannot be read")
            };
            let text = format!("{error:?} {}", error.chain());
            assert!(!text.contains(secret) && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
        }
    }
}
