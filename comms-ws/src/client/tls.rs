//! TLS of `wss://` URLs.

use std::sync::Arc;

use comms_core::Error;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider, pki_types::ServerName},
};

use super::io::Io;

/// Returns a configuration that trusts the root certificates of the operating system.
///
/// # Errors
/// Returns `Misconfigured` if no provider of cryptography is installed, or the system has no root certificates.
pub(super) fn system_config() -> Result<Arc<ClientConfig>, Error> {
    let provider = CryptoProvider::get_default().cloned().ok_or_else(|| {
        Error::misconfigured(
            "TLS needs a cryptography provider, and none is installed: call \
             `rustls::crypto::aws_lc_rs::default_provider().install_default()` at the start of `main`",
        )
    })?;
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(Error::misconfigured(
            "the operating system has no root certificates: install them (Debian: ca-certificates), or set Builder::tls",
        ));
    }
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(Error::misconfigured)?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes the TLS handshake with `host`.
pub(super) async fn handshake(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> Result<Box<dyn Io>, Error> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|e| Error::misconfigured(e).context(format!("{host:?} is no name for a certificate")))?;
    let connected = TlsConnector::from(config).connect(name, tcp).await;
    Ok(Box::new(connected.map_err(|e| Error::not_executed(e).context(format!("TLS handshake with {host}")))?))
}
