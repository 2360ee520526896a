//! The authorities whose certificates are trusted.

use std::{path::PathBuf, sync::Arc, time::Duration};

use comms_core::{BoxError, clock::Clock};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    certificate::pem_fault,
    reload::{Material, Reloader, Secret, Source},
};

/// The authorities whose certificates are trusted: one or more root certificates.
///
/// To replace an authority, trust the old and the new one together until no certificate of the old one is in use.
/// Connections that are open when an authority is removed stay open; they end at their age.
///
/// Each authority may issue any name, also a SPIFFE id of another trust domain: one `Trust` is one trust domain.
///
/// The validity of a root certificate is not checked. Certificate revocation lists are not read: short lifetimes of
/// certificates replace them.
///
/// ```
/// use comms_grpc::tls::Trust;
/// use std::time::Duration;
///
/// let trust = Trust::from_pem_file("/etc/shop/tls/ca.pem").check_every(Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
pub struct Trust(pub(super) Arc<Reloader<Authorities>>);

impl Trust {
    /// Trusts the certificates in the PEM file at `path`, which is read again every 30 s, see
    /// [`Identity::from_pem_files`](super::Identity::from_pem_files). `comms_grpc::listen` and the builder of the
    /// channel read the file first, and return the error.
    pub fn from_pem_file(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Reloader::new(vec![Source::File(path.into())])))
    }

    /// Trusts the certificates in `pem`.
    pub fn from_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Reloader::new(vec![Source::memory(pem)])))
    }

    /// Sets the interval at which the file is read again. Default 30 s, minimum 1 ms. Clones made before keep their
    /// interval.
    #[must_use]
    pub fn check_every(self, interval: Duration) -> Self {
        Self(Arc::new(self.0.with_interval(interval)))
    }
}

/// Loaded authorities.
#[derive(Debug)]
pub(super) struct Authorities(pub(super) Arc<RootCertStore>);

impl Material for Authorities {
    const NAME: &'static str = "trust";

    fn load(files: &[Secret], _: &Clock) -> Result<Self, BoxError> {
        let mut roots = RootCertStore::empty();
        for certificate in files.iter().flat_map(|file| CertificateDer::pem_slice_iter(file)) {
            let certificate = certificate.map_err(|e| format!("the file is not PEM: {}", pem_fault(&e)))?;
            roots.add(certificate).map_err(|e| format!("an authority cannot be read: {e}"))?;
        }
        match roots.len() {
            0 => Err("the file has no section BEGIN CERTIFICATE".into()),
            _ => Ok(Self(Arc::new(roots))),
        }
    }

    fn describe(&self) -> String {
        format!("{} authorities", self.0.len())
    }
}
