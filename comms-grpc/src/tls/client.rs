//! TLS of a client.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use comms_core::{Error, clock::Clock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, ConfigBuilder, WantsVersions, client::Resumption, crypto::CryptoProvider,
        pki_types::ServerName,
    },
};

use super::{
    client_stream::ClientStream,
    failure::HandshakeFailure,
    identity::{Identity, LoadedIdentity},
    peer_name::PeerName,
    provider::{self, WallClock},
    server_verifier::ServerVerifier,
    trust::{Authorities, Trust},
};

/// TLS of a client: TLS 1.3 or 1.2, HTTP/2 by ALPN.
///
/// The certificate of the server must be signed by an authority of the trust, be valid now, be for servers (extended key
/// usage serverAuth, if it has the extension), and have the expected name. A server that does not select `h2` by ALPN is
/// refused, as gRPC requires.
///
/// A handshake is never shortened by an earlier one (no session resumption), so that each new connection is checked
/// against the current trust and the current time.
///
/// ```
/// use comms_grpc::tls::{ClientTls, Identity, PeerName, Trust};
///
/// let identity = Identity::from_pem_files("/etc/shop/tls/tls.crt", "/etc/shop/tls/tls.key");
/// let tls = ClientTls::new(Trust::from_pem_file("/etc/shop/tls/ca.crt"))
///     .identity(identity)
///     .expect(PeerName::spiffe("spiffe://shop.example/payment")?);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientTls {
    trust: Trust,
    identity: Option<Identity>,
    server_name: Option<String>,
    expected: Option<PeerName>,
}

impl ClientTls {
    /// Trusts the servers whose certificate an authority of `trust` signed, and which have the name of the host in the
    /// URI.
    pub const fn new(trust: Trust) -> Self {
        Self { trust, identity: None, server_name: None, expected: None }
    }

    /// Sets the certificate that this process presents if a server requests one (mutual TLS). Default: none.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the name that is sent to the server (SNI) and expected in its certificate, instead of the host in the URI.
    /// For a URI with an address, or of a proxy.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the name that the certificate of the server must have, instead of the host in the URI. The name that is sent
    /// to the server stays as it is.
    pub fn expect(mut self, name: PeerName) -> Self {
        self.expected = Some(name);
        self
    }

    /// Loads the files, and starts the tasks that read them again. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the files cannot be loaded or no provider is installed, and `Invalid` if the name of
    /// the server is neither a DNS name nor an address.
    #[allow(dead_code, reason = "the client channel calls this")]
    pub(crate) fn start(&self, clock: &Clock) -> Result<ClientHandshake, Error> {
        let provider = provider::installed()?;
        if let Some(name) = &self.server_name {
            PeerName::dns(name)?;
        }
        self.trust.0.start(clock)?;
        if let Some(identity) = &self.identity {
            identity.0.start(clock)?;
        }
        let handshake =
            ClientHandshake { tls: self.clone(), provider, clock: clock.clone(), version: Mutex::default() };
        // A fault of the settings is found here, and not at the first call.
        handshake.config().map_err(Error::misconfigured)?;
        Ok(handshake)
    }
}

/// Makes the handshakes of a client with the current certificates.
#[derive(Debug)]
pub(crate) struct ClientHandshake {
    tls: ClientTls,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    version: Mutex<Option<Version>>,
}

/// The configuration of the certificates that it was made of.
#[derive(Debug)]
struct Version {
    trust: Arc<Authorities>,
    identity: Option<Arc<LoadedIdentity>>,
    config: Arc<ClientConfig>,
}

#[allow(dead_code, reason = "the client channel calls this")]
impl ClientHandshake {
    /// Makes the handshake on `stream`, for the host of the URI. The caller limits its time.
    ///
    /// # Errors
    /// The error of a handshake that TLS refused is a [`HandshakeFailure`] in an `io::Error`. With TLS 1.3, a server
    /// refuses the certificate of this process later, at the first read: see [`ClientStream`].
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.tls.server_name.as_deref().unwrap_or(host);
        // The host of a URI has brackets around an IPv6 address.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| {
            let text = format!("{host:?} is no name for a certificate ({e}): set ClientTls::server_name");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let connector = TlsConnector::from(self.config()?);
        let stream =
            connector.connect(name, stream).await.map_err(|error| {
                match HandshakeFailure::of_client(&error) {
                    Some(failure) => io::Error::new(error.kind(), failure),
                    None => error,
                }
            })?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Ok(ClientStream::new(stream)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                HandshakeFailure::new("alpn", "the server does not speak HTTP/2: it selected no h2 by ALPN"),
            )),
        }
    }

    /// Returns the configuration of the current certificates.
    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let trust = self.tls.trust.0.current().ok_or_else(not_loaded)?;
        let identity = match &self.tls.identity {
            Some(identity) => Some(identity.0.current().ok_or_else(not_loaded)?),
            None => None,
        };
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = &*version
            && Arc::ptr_eq(&version.trust, &trust)
            && version.identity.as_ref().map(Arc::as_ptr) == identity.as_ref().map(Arc::as_ptr)
        {
            return Ok(version.config.clone());
        }
        let config = Arc::new(self.build(&trust, identity.as_deref())?);
        *version = Some(Version { trust, identity, config: config.clone() });
        Ok(config)
    }

    fn build(&self, trust: &Authorities, identity: Option<&LoadedIdentity>) -> io::Result<ClientConfig> {
        let verifier = ServerVerifier {
            roots: trust.0.clone(),
            provider: self.provider.clone(),
            expected: self.tls.expected.clone(),
        };
        let builder: ConfigBuilder<ClientConfig, WantsVersions> = ClientConfig::builder_with_details(
            self.provider.clone(),
            Arc::new(WallClock(self.clock.clone())),
        );
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                tokio_rustls::rustls::sign::SingleCertAndKey::from(identity.key.clone()),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn not_loaded() -> io::Error {
    io::Error::other("the certificates are not loaded")
}
