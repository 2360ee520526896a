//! A raw TLS client, and its listener.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use comms_grpc::{
    ListenerConfig, Protocols,
    tls::{Identity, ServerTls, Trust},
};
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use super::{Server, WAIT};
pub(crate) use test_pki::{Leaf, Pki, install_provider, now, self_signed};

#[path = "../../../src/tls/test_pki.rs"]
mod test_pki;

impl Server {
    /// Starts a listener with short limits that requires certificates of `pki`.
    pub(crate) async fn mutual(pki: &Pki, change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let tls = ServerTls::new(pki.leaf("payment").identity()).client_trust(pki.trust());
        let mut client = Client::new(pki, pki.leaf("order"));
        let protocols = |config: &mut ListenerConfig| {
            change(config);
            client.alpn = if config.protocols == Protocols::Http2 { vec!["h2"] } else { vec![] };
        };
        let server = Self::with_tls(tls, protocols).await;
        Self { client: Some(client), ..server }
    }

    pub(crate) async fn with_tls(tls: ServerTls, change: impl FnOnce(&mut ListenerConfig)) -> Self {
        Self::listen(|config| {
            config.tls = Some(tls);
            change(config);
        })
        .await
    }
}

/// A raw TLS client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) trust: String,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
}

impl Client {
    pub(crate) fn new(pki: &Pki, leaf: impl Into<Option<Leaf>>) -> Self {
        Self {
            trust: pki.pem.clone(),
            leaf: leaf.into(),
            alpn: vec!["h2"],
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }

    pub(crate) fn http1(mut self) -> Self {
        self.alpn = vec!["http/1.1"];
        self
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.trust.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = rustls::crypto::CryptoProvider::get_default().unwrap().clone();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.leaf {
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                // Without the check that the key fits.
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let certified = CertifiedKey::new(chain.map(Result::unwrap).collect(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Returns a connector with a store of sessions of its own.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::new(self.config()))
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.handshake(TcpStream::connect(address).await?).await
    }

    pub(crate) async fn handshake(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector().connect("localhost".try_into().unwrap(), socket).await
    }

    /// Connects, and returns how the server refused this client: in the handshake (TLS 1.2), or at the first read (TLS
    /// 1.3).
    pub(crate) async fn refusal(&self, address: SocketAddr) -> String {
        let refusal = async {
            let mut stream = match self.connect(address).await {
                Ok(stream) => stream,
                Err(error) => return error.to_string(),
            };
            // A client does not wait before it sends its first bytes.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
            match stream.read_u8().await {
                Ok(_) => "admitted".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        timeout(WAIT, refusal).await.expect("the server decides")
    }

    /// Returns the body of `path` over HTTP/2.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> String {
        let (client, connection) = self.http2(address, 65_535).await;
        let text = get_text(&client, path).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
        text
    }

    /// Connects over HTTP/2, with streams whose window is `window` bytes.
    pub(crate) async fn http2(
        &self,
        address: SocketAddr,
        window: u32,
    ) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let stream = self.connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let (client, connection) = builder.handshake(stream).await.unwrap();
        (client, tokio::spawn(connection))
    }
}

/// Returns the body of `path`.
pub(crate) async fn get_text(
    client: &h2::client::SendRequest<Bytes>,
    path: &str,
) -> Result<String, h2::Error> {
    let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
    let mut body = client.clone().ready().await?.send_request(request, true)?.0.await?.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

pub(crate) const fn http2_only(config: &mut ListenerConfig) {
    config.protocols = Protocols::Http2;
}
