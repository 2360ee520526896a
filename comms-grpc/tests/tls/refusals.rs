//! Clients that the listener refuses in the handshake.

use comms_core::{ErrorKind, clock::Clock};
use comms_grpc::{
    ListenerConfig, Protocols, RequestBody, listen,
    tls::{Identity, ServerTls, Trust},
};
use http::{Request, Response};
use rcgen::ExtendedKeyUsagePurpose;
use time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::rustls;

use crate::support::{
    Client, LARGE, Leaf, Pki, Server, WAIT, closed, http2_only, install_provider, log::Log, now, self_signed,
};

/// Each client gets an alert that names the fault, and the listener logs the reason and the address.
#[tokio::test]
async fn a_wrong_certificate_is_refused_and_both_sides_learn_why() {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let server = Server::mutual(&pki, http2_only).await;
    let wrong = |change: fn(&mut rcgen::CertificateParams)| Some(pki.leaf_with("order", change));
    let mismatched = Leaf { key: other.leaf("order").key, ..pki.leaf("order") };
    let cases: [(&str, Option<Leaf>, &str); 7] = [
        ("no_certificate", None, "CertificateRequired"),
        ("unknown_authority", Some(other.leaf("order")), "UnknownCA"),
        ("unknown_authority", Some(self_signed("order")), "UnknownCA"),
        ("expired", wrong(|p| p.not_after = now() - Duration::seconds(1)), "CertificateExpired"),
        ("not_yet_valid", wrong(|p| p.not_before = now() + Duration::minutes(1)), "CertificateExpired"),
        (
            "wrong_purpose",
            wrong(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "UnsupportedCertificate",
        ),
        ("bad_signature", Some(mismatched), "DecryptError"),
    ];
    for (reason, leaf, alert) in cases {
        for version in rustls::ALL_VERSIONS {
            let (log, _guard) = Log::record();
            let mut client = Client::new(&pki, leaf.clone());
            client.versions = vec![version];
            let refusal = client.refusal(server.address).await;
            assert!(refusal.contains(alert), "{reason} {version:?}: {refusal}");
            let logged = format!("reason={reason}");
            log.wait_for(&logged, 1).await;
            assert!(log.lines(&logged)[0].contains("remote=127.0.0.1:"), "{:?}", log.lines(&logged));
        }
    }
    let admitted = Client::new(&pki, pki.leaf("order")).get(server.address, "/id").await;
    assert_eq!(admitted, "id: spiffe://shop.test/order");
}

/// A client that comes back all the time does not fill the log, and hides no other fault.
#[tokio::test]
async fn repeated_refusals_for_one_reason_are_one_warning() {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let server = Server::mutual(&pki, http2_only).await;
    let (log, _guard) = Log::record();
    for _ in 0..5 {
        Client::new(&pki, None).refusal(server.address).await;
    }
    Client::new(&pki, other.leaf("order")).refusal(server.address).await;
    for (reason, failures) in [("reason=no_certificate", 5), ("reason=unknown_authority", 1)] {
        log.wait_for(reason, failures).await;
        let warnings: Vec<_> =
            log.lines(reason).into_iter().filter(|line| line.starts_with("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}

/// The kernel resets a socket that is closed with unread bytes: the client would fail to write, and not read the alert.
#[tokio::test]
async fn a_client_that_sends_before_it_reads_gets_the_alert() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, |config| config.head_timeout = WAIT).await;
    let mut stream = Client::new(&pki, None).connect(server.address).await.unwrap();
    // More than the buffers of the kernel hold.
    for _ in 0..LARGE / (64 * 1024) {
        stream.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    }
    let error = stream.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

/// The client has another trust.
#[tokio::test]
async fn a_client_that_refuses_the_listener_is_named_in_the_log() {
    let (pki, other) = (Pki::new("a"), Pki::new("b"));
    let server = Server::mutual(&pki, http2_only).await;
    let (log, _guard) = Log::record();
    let error = Client::new(&other, pki.leaf("order")).connect(server.address).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    log.wait_for("reason=refused_by_peer", 1).await;
    assert!(log.has("the client refused the certificate of the listener"));
}

#[tokio::test]
async fn a_client_without_a_shared_version_is_refused() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    let (log, _guard) = Log::record();
    // A ClientHello of TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA alone.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    socket.write_all(&record).await.unwrap();
    assert!(closed(&mut socket, WAIT).await);
    log.wait_for("reason=incompatible", 1).await;
}

#[tokio::test]
async fn plain_text_on_the_port_of_tls_is_named_in_the_log() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let (log, _guard) = Log::record();
        let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        assert!(closed(&mut socket, WAIT).await);
        log.wait_for("reason=plain_text", 1).await;
        assert!(log.has("its URI must be https"));
    }
}

/// A ClientHello that ends early, at any byte.
#[tokio::test]
async fn a_truncated_handshake_ends_the_connection() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    let (log, _guard) = Log::record();
    for length in [1, 5, 6, 20] {
        let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let hello = [22, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7];
        socket.write_all(&hello[..length]).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(closed(&mut socket, WAIT).await, "{length}");
    }
    log.wait_for("reason=closed", 4).await;
}

/// gRPC requires ALPN. A listener of HTTP/1 and HTTP/2 does not.
#[tokio::test]
async fn a_client_must_select_h2_on_a_listener_of_grpc() {
    let pki = Pki::new("a");
    let grpc = Server::mutual(&pki, http2_only).await;
    let http = Server::mutual(&pki, |config| config.protocols = Protocols::Http).await;
    let mut client = Client::new(&pki, pki.leaf("order"));
    client.alpn = vec![];
    let (log, _guard) = Log::record();
    let refusal = client.refusal(grpc.address).await;
    assert_ne!(refusal, "admitted");
    log.wait_for("reason=alpn", 1).await;
    assert_eq!(client.get(http.address, "/id").await, "id: spiffe://shop.test/order");
    client.alpn = vec!["http/1.1"];
    let refusal = client.refusal(grpc.address).await;
    assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");
}

#[tokio::test]
async fn files_and_settings_that_cannot_work_end_the_start() {
    install_provider();
    let pki = Pki::new("a");
    let leaf = pki.leaf("payment");
    let expired = pki.leaf_with("payment", |p| p.not_after = now() - Duration::seconds(1));
    let other_key = Leaf { key: pki.leaf("payment").key, ..leaf.clone() };
    let no_key = Leaf { key: "no key".to_owned(), ..leaf.clone() };
    let secret = "c2VjcmV0";
    let broken_key = Leaf {
        key: format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----"),
        ..leaf.clone()
    };
    let empty = Leaf { certificate: String::new(), ..leaf.clone() };
    let missing = Identity::from_pem_files("/nowhere/tls.crt", "/nowhere/tls.key");
    let folder = Identity::from_pem_files("/", "/");
    let cases = [
        (ServerTls::new(expired.identity()), ErrorKind::Misconfigured, "expired at"),
        (ServerTls::new(other_key.identity()), ErrorKind::Misconfigured, "the key does not fit"),
        (ServerTls::new(no_key.identity()), ErrorKind::Misconfigured, "BEGIN PRIVATE KEY"),
        (ServerTls::new(broken_key.identity()), ErrorKind::Misconfigured, "the key cannot be used"),
        (ServerTls::new(empty.identity()), ErrorKind::Misconfigured, "BEGIN CERTIFICATE"),
        (ServerTls::new(missing), ErrorKind::Misconfigured, "/nowhere/tls.crt"),
        (ServerTls::new(folder), ErrorKind::Misconfigured, "it is not a file"),
        (
            ServerTls::new(leaf.identity()).client_trust(Trust::from_pem("nothing")),
            ErrorKind::Misconfigured,
            "TLS trust",
        ),
        (ServerTls::new(leaf.identity()).optional_client_certificates(), ErrorKind::Invalid, "client_trust"),
    ];
    for (tls, kind, text) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = tower::service_fn(async |_: Request<RequestBody>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let config = ListenerConfig::default().name("orders").tls(tls);
        let result = listen(listener, |_| service, config, Clock::system(), std::future::pending()).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, kind, "{text}");
        let chain = error.chain().to_string();
        assert!(chain.contains(text) && chain.contains("listener orders"), "{text}: {chain}");
        assert!(!chain.contains(secret), "{chain}");
    }
}
