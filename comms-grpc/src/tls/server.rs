//! TLS of a server.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use comms_core::{Error, clock::Clock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::CryptoProvider,
        server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
        sign::SingleCertAndKey,
    },
    server::TlsStream,
};

use super::{
    certificate::CertificateNames,
    failure::HandshakeFailure,
    identity::{Identity, LoadedIdentity},
    provider::{self, WallClock},
    trust::{Authorities, Trust},
};
use crate::peer_identity::PeerIdentity;

/// TLS of a listener: TLS 1.3 or 1.2, and the protocols of the listener by ALPN.
///
/// Without [`client_trust`](Self::client_trust) every client is admitted, and has no identity. With it, a client must
/// present a certificate that an authority of the trust signed, that is valid now, and that is for clients (extended key
/// usage clientAuth, if it has the extension). Which client may call which method is a decision of the application, by
/// [`PeerIdentity`].
///
/// A handshake is never shortened by an earlier one (no session tickets), so that each new connection is checked against
/// the current trust and the current time. An open connection stays open after a change, until its age.
///
/// ```
/// use comms_grpc::{ServerConfig, tls::{Identity, ServerTls, Trust}};
///
/// let identity = Identity::from_pem_files("/etc/shop/tls/tls.crt", "/etc/shop/tls/tls.key");
/// let tls = ServerTls::new(identity).client_trust(Trust::from_pem_file("/etc/shop/tls/ca.crt"));
/// let config = ServerConfig::default().tls(tls);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerTls {
    identity: Identity,
    client_trust: Option<Trust>,
    optional: bool,
}

impl ServerTls {
    /// Presents the certificate of `identity`.
    pub const fn new(identity: Identity) -> Self {
        Self { identity, client_trust: None, optional: false }
    }

    /// Requires a certificate of each client, signed by an authority of `trust` (mutual TLS). Default: none is requested.
    pub fn client_trust(mut self, trust: Trust) -> Self {
        self.client_trust = Some(trust);
        self
    }

    /// Admits clients without a certificate, which have no identity. A certificate that is presented must be valid.
    /// For a migration to mutual TLS.
    pub const fn optional_client_certificates(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Loads the files, and starts the tasks that read them again. `protocols` are the names of ALPN; if
    /// `requires_alpn`, a client must offer one of them.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the files cannot be loaded or no provider is installed, and `Invalid` for optional
    /// certificates without a trust.
    pub(crate) fn start(
        &self,
        protocols: &[&[u8]],
        requires_alpn: bool,
        clock: &Clock,
    ) -> Result<ServerHandshake, Error> {
        if self.optional && self.client_trust.is_none() {
            return Err(Error::invalid("ServerTls: optional client certificates need a client_trust"));
        }
        let provider = provider::installed()?;
        self.identity.0.start(clock)?;
        if let Some(trust) = &self.client_trust {
            trust.0.start(clock)?;
        }
        let handshake = ServerHandshake {
            tls: self.clone(),
            protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(),
            requires_alpn,
            provider,
            clock: clock.clone(),
            version: Mutex::default(),
        };
        // A fault of the settings is found here, and not at the first connection.
        handshake.config().map_err(Error::misconfigured)?;
        Ok(handshake)
    }
}

/// Makes the handshakes of a listener with the current certificates.
#[derive(Debug)]
pub(crate) struct ServerHandshake {
    tls: ServerTls,
    protocols: Vec<Vec<u8>>,
    requires_alpn: bool,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    version: Mutex<Option<Version>>,
}

/// The configuration of the certificates that it was made of.
#[derive(Debug)]
struct Version {
    identity: Arc<LoadedIdentity>,
    trust: Option<Arc<Authorities>>,
    config: Arc<ServerConfig>,
}

impl ServerHandshake {
    /// Makes the handshake on `stream`. The caller limits its time. Returns the identity of a client with a certificate.
    ///
    /// # Errors
    /// Returns the failure, with the stream, so that the caller can close it after the client has read the alert.
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
    ) -> Result<(TlsStream<S>, Option<PeerIdentity>), (HandshakeFailure, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match self.config() {
            Ok(config) => config,
            Err(error) => return Err((HandshakeFailure::new("protocol", error.to_string()), stream)),
        };
        let accepted = TlsAcceptor::from(config).accept(stream).into_fallible().await;
        let stream = accepted.map_err(|(error, stream)| (HandshakeFailure::of_server(&error), stream))?;
        let session = stream.get_ref().1;
        if self.requires_alpn && session.alpn_protocol().is_none() {
            let failure =
                HandshakeFailure::new("alpn", "the client does not offer h2 by ALPN, which gRPC requires");
            return Err((failure, stream.into_inner().0));
        }
        let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else {
            return Ok((stream, None));
        };
        match CertificateNames::read(certificate) {
            Ok(CertificateNames { spiffe_id, dns_names, .. }) => {
                let dns_names = dns_names.into_iter().map(Into::into).collect();
                Ok((stream, Some(PeerIdentity { spiffe_id: spiffe_id.map(Into::into), dns_names })))
            }
            Err(error) => {
                let text = format!("the names of the client's certificate cannot be read: {error}");
                Err((HandshakeFailure::new("bad_certificate", text), stream.into_inner().0))
            }
        }
    }

    /// Returns the configuration of the current certificates.
    fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let not_loaded = || io::Error::other("the certificate is not loaded");
        let identity = self.tls.identity.0.current().ok_or_else(not_loaded)?;
        // A trust that is not loaded must not turn the check off.
        let trust = match &self.tls.client_trust {
            Some(trust) => Some(trust.0.current().ok_or_else(not_loaded)?),
            None => None,
        };
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = &*version
            && Arc::ptr_eq(&version.identity, &identity)
            && version.trust.as_ref().map(Arc::as_ptr) == trust.as_ref().map(Arc::as_ptr)
        {
            return Ok(version.config.clone());
        }
        let config = Arc::new(self.build(&identity, trust.as_deref())?);
        *version = Some(Version { identity, trust, config: config.clone() });
        Ok(config)
    }

    fn build(&self, identity: &LoadedIdentity, trust: Option<&Authorities>) -> io::Result<ServerConfig> {
        let verifier = match trust {
            Some(trust) => self.client_verifier(trust)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let time = Arc::new(WallClock(self.clock.clone()));
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), time)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key.clone())));
        config.alpn_protocols.clone_from(&self.protocols);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn client_verifier(&self, trust: &Authorities) -> io::Result<Arc<dyn ClientCertVerifier>> {
        let builder = WebPkiClientVerifier::builder_with_provider(trust.0.clone(), self.provider.clone());
        let builder = if self.tls.optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map_err(io::Error::other)
    }
}
