//! The cryptography of the process, which the application selects, and the time for rustls.

use std::sync::Arc;

use comms_core::{Error, clock::Clock};
use tokio_rustls::rustls::{crypto::CryptoProvider, pki_types::UnixTime, time_provider::TimeProvider};

/// Returns the provider that the application installed.
pub(super) fn installed() -> Result<Arc<CryptoProvider>, Error> {
    CryptoProvider::get_default().cloned().ok_or_else(|| {
        Error::misconfigured(
            "TLS needs a cryptography provider, and none is installed: call \
             `rustls::crypto::aws_lc_rs::default_provider().install_default()` at the start of `main`",
        )
    })
}

/// The wall-clock time of a [`Clock`].
#[derive(Debug)]
pub(super) struct WallClock(pub(super) Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}
