//! The certificate of this process, with its private key.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_core::{
    BoxError,
    clock::{Clock, rfc3339},
    telemetry,
};
use tokio_rustls::rustls::{
    self, InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    certificate::{CertificateNames, pem_fault},
    provider,
    reload::{Material, Reloader, Secret, Source},
};

/// The certificate of this process, with its private key.
///
/// Clones share the loaded certificate and the task that reads the files.
///
/// ```
/// use comms_grpc::tls::Identity;
///
/// let identity = Identity::from_pem_files("/etc/shop/tls/tls.crt", "/etc/shop/tls/tls.key");
/// ```
#[derive(Debug, Clone)]
pub struct Identity(pub(super) Arc<Reloader<LoadedIdentity>>);

impl Identity {
    /// Uses the certificate chain and the private key in two PEM files, or twice the same file.
    ///
    /// The chain begins with the certificate of this process. The key is PKCS #8, PKCS #1 or SEC 1, and not encrypted.
    /// `comms_grpc::listen` and the builder of the channel read the files first, and return the error.
    ///
    /// The files are read again every 30 s, through symbolic links. A changed certificate is used if two readings in a row
    /// are equal, the key fits, and the certificate is valid now. Then new handshakes use it, and open connections stay as
    /// they are. Otherwise the last usable certificate stays in use, a warning is logged once for each change, and
    /// `comms_tls_reloads_total{outcome="refused"}` counts it. So a half-written file does no harm, and the files may be
    /// replaced in any order. Files that differ at each reading are never used.
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Reloader::new(vec![Source::File(certificate.into()), Source::File(key.into())])))
    }

    /// Uses the certificate chain and the private key in two texts in PEM, which are never replaced.
    pub fn from_pem(certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Reloader::new(vec![Source::memory(certificate), Source::memory(key)])))
    }

    /// Sets the interval at which the files are read again. Default 30 s, minimum 1 ms. Clones made before keep their
    /// interval.
    #[must_use]
    pub fn check_every(self, interval: Duration) -> Self {
        Self(Arc::new(self.0.with_interval(interval)))
    }
}

/// A loaded certificate, with its key.
#[derive(Debug)]
pub(super) struct LoadedIdentity {
    pub(super) key: Arc<CertifiedKey>,
    names: CertificateNames,
    /// The last state of the expiry that was logged.
    logged: AtomicU8,
}

impl Material for LoadedIdentity {
    const NAME: &'static str = "identity";

    fn load(files: &[Secret], clock: &Clock) -> Result<Self, BoxError> {
        let [certificate, key] = files else { return Err("a certificate and a key are needed".into()) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|e| format!("the certificate is not PEM: {}", pem_fault(&e)))?;
        let Some(first) = chain.first() else {
            return Err("the file of the certificate has no section BEGIN CERTIFICATE".into());
        };
        let names =
            CertificateNames::read(first).map_err(|e| format!("the certificate cannot be read: {e}"))?;
        // The text of the error must not repeat the key.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "the file of the key has no section BEGIN PRIVATE KEY that can be read")?;
        let provider = provider::installed()?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key does not fit the certificate".to_owned()
            }
            other => format!("the key cannot be used: {other}"),
        })?;
        match names.invalid_at(clock.unix()) {
            Some(reason) => Err(reason.into()),
            None => Ok(Self { key: Arc::new(key), names, logged: AtomicU8::new(FRESH) }),
        }
    }

    fn describe(&self) -> String {
        format!("{}, expires {}", self.names, rfc3339(self.names.not_after))
    }

    /// Sets the gauge of the time to the expiry. Logs once that a tenth of the lifetime is left, and that none is.
    fn observe(&self, clock: &Clock) {
        let left = self.names.not_after.saturating_sub(clock.unix());
        metrics::gauge!(telemetry::TLS_CERTIFICATE_EXPIRY, "certificate" => self.names.label())
            .set(left.as_secs_f64());
        let state = expiry_state(&self.names, clock.unix());
        if self.logged.fetch_max(state, Relaxed) >= state {
            return;
        }
        let (certificate, expires) = (&self.names, rfc3339(self.names.not_after));
        match state {
            SOON => tracing::warn!(%certificate, expires, "a certificate expires soon: replace its files"),
            _ => {
                tracing::error!(%certificate, expires, "a certificate has expired, and peers refuse it: replace its files")
            }
        }
    }
}

const FRESH: u8 = 0;
const SOON: u8 = 1;
const EXPIRED: u8 = 2;

/// Returns whether a tenth of the lifetime is left at `unix`, the time since 1970, or nothing.
fn expiry_state(names: &CertificateNames, unix: Duration) -> u8 {
    let left = names.not_after.saturating_sub(unix);
    let lifetime = names.not_after.saturating_sub(names.not_before);
    match left {
        Duration::ZERO => EXPIRED,
        left if left < lifetime / 10 => SOON,
        _ => FRESH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_of_the_lifetime_is_soon() {
        let seconds = Duration::from_secs;
        let names = CertificateNames {
            spiffe_id: None,
            dns_names: Vec::new(),
            addresses: Vec::new(),
            not_before: seconds(1_000),
            not_after: seconds(2_000),
        };
        let states = [1_000, 1_900, 1_901, 1_999, 2_000, 9_000].map(|at| expiry_state(&names, seconds(at)));
        assert_eq!(states, [FRESH, FRESH, SOON, SOON, EXPIRED, EXPIRED]);
    }
}
