//! A certificate authority in a directory, for development and tests.
//!
//! `mod.rs` decides when a certificate is issued. `certificates.rs` makes certificates, `directory.rs` reads and writes
//! files.

mod certificates;
mod directory;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use comms_core::{Error, clock::Clock};
use tokio_rustls::rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use super::{Identity, Trust, peer_name::check_trust_domain, provider, reload};
use certificates::Authority;
use directory::Directory;

/// The default lifetime of an issued certificate.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The minimum lifetime, so that a renewal has a second of time.
const MIN_LIFETIME: Duration = Duration::from_secs(3);
/// The maximum pause between two checks of [`DevelopmentAuthority::run`].
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// A certificate authority in a directory. **For development and tests only.**
///
/// The key of the authority lies unencrypted in a file, and every process that may read the directory can issue itself
/// any identity. In production, certificates come from an authority that checks each workload, such as SPIRE, cert-manager
/// or a cloud provider, and this process only reads files: [`Identity::from_pem_files`].
///
/// The directory (mode 0700) has these files:
///
/// | file | mode | content |
/// |---|---|---|
/// | `ca.pem` | 0600 | the certificate of the authority, for [`Trust`] |
/// | `authority.pem` | 0600 | the certificate and the key of the authority, valid for 10 years |
/// | `role-<role>.pem` | 0600 | the certificate and the key of a role |
/// | `lock` | 0600 | the lock that lets one process at a time create files |
///
/// A file is written under another name and renamed, so that a crash leaves a whole file or none. Processes that share
/// the directory share the authority, also if they create it at the same time.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_grpc::tls::{DevelopmentAuthority, PeerName, rustls};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path().join("tls");
/// let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
/// let authority = DevelopmentAuthority::open(directory, "shop.test", Clock::system()).await?;
/// let payment = authority.identity("payment", &["localhost", "127.0.0.1"]).await?;
/// let trust = authority.trust();
/// let name = PeerName::spiffe("spiffe://shop.test/payment")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DevelopmentAuthority {
    directory: Directory,
    trust_domain: String,
    lifetime: Duration,
    authority: Authority,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    /// The names of the roles that this process uses, which [`run`](Self::run) renews.
    roles: Mutex<BTreeMap<String, Vec<String>>>,
}

impl DevelopmentAuthority {
    /// Opens the authority in `directory`, and creates both if they do not exist. `trust_domain` is the first part of
    /// the SPIFFE ids, such as `shop.test`. Reads and writes small files on the thread of the caller.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `trust_domain` is none, and
    /// [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if:
    /// - the directory or a file cannot be used, or other users may read it;
    /// - the authority is broken or expired, or belongs to another trust domain;
    /// - another process holds the lock for longer than 10 s;
    /// - no cryptography provider is installed.
    pub async fn open(
        directory: impl Into<PathBuf>,
        trust_domain: impl Into<String>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let trust_domain = trust_domain.into();
        check_trust_domain(&trust_domain)
            .map_err(|rule| Error::invalid(format!("{trust_domain:?} is no trust domain: {rule}")))?;
        let provider = provider::installed()?;
        let directory = Directory::create(directory.into())?;
        let lock = directory.lock(&clock).await?;
        let authority = match directory.read("authority.pem")? {
            Some(pem) => Authority::load(&pem, &trust_domain, &clock)
                .map_err(|e| e.context(format_args!("{}", directory.path("authority.pem").display())))?,
            None => {
                let authority = Authority::create(&trust_domain, &clock)?;
                directory.write("authority.pem", &authority.secret_pem())?;
                authority
            }
        };
        let is_written = |pem: Zeroizing<String>| *pem == authority.certificate_pem();
        if !directory.read("ca.pem")?.is_some_and(is_written) {
            directory.write("ca.pem", authority.certificate_pem())?;
        }
        drop(lock);
        tracing::warn!(
            directory = %directory.path("").display(),
            "certificates come from a development authority: use it for development and tests only"
        );
        let roles = Mutex::default();
        Ok(Self { directory, trust_domain, lifetime: LIFETIME, authority, provider, clock, roles })
    }

    /// Sets the lifetime of certificates that are issued from now on. Default 30 days, minimum 3 s. No certificate outlives
    /// the authority. Processes that share a role need the same lifetime.
    #[must_use]
    pub fn leaf_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime.max(MIN_LIFETIME);
        self
    }

    /// Returns the trust in the certificates of this authority. The file `ca.pem` is read again as for every
    /// [`Trust::from_pem_file`].
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::from_pem_file(self.directory.path("ca.pem"))
    }

    /// Returns the identity of `role`: the SPIFFE id `spiffe://<trust domain>/<role>`, and `names`, which are DNS names
    /// and IP addresses. For servers and clients.
    ///
    /// A stored certificate is used again if it has these names and a third of
    /// [`leaf_lifetime`](Self::leaf_lifetime) is left. Otherwise a new one is issued. [`run`](Self::run) renews it while the process runs.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `role` is not 1 to 63 lowercase letters, digits
    /// and '-', or a name is none, and [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the files
    /// cannot be used or another process holds the lock for longer than 10 s.
    pub async fn identity(&self, role: &str, names: &[&str]) -> Result<Identity, Error> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if role.is_empty() || role.len() > 63 || !role.bytes().all(valid) {
            return Err(Error::invalid(format!(
                "{role:?} is no role: use 1 to 63 lowercase letters, digits and '-'"
            )));
        }
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.issue(role, &names).await?;
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).insert(role.to_owned(), names);
        let path = self.directory.path(&file_of(role));
        // Three pauses fit into the last third of the lifetime: until the renewal, and for two equal readings.
        let interval = self.pause().min(reload::INTERVAL);
        Ok(Identity::from_pem_files(path.clone(), path).check_every(interval))
    }

    /// Renews the certificates that [`identity`](Self::identity) returned when a third of their lifetime is left, until
    /// `shutdown` resolves. A failed renewal is logged, and is repeated after a thirtieth of the lifetime, or an hour if
    /// that is shorter.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let pause = self.pause();
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = self.clock.sleep(pause) => {}
            }
            let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (role, names) in roles {
                if let Err(error) = self.issue(&role, &names).await {
                    let error = error.chain().to_string();
                    tracing::warn!(role, error, "a development certificate cannot be renewed");
                }
            }
        }
    }

    /// Returns the pause between two checks.
    fn pause(&self) -> Duration {
        (self.lifetime / 30).min(MAX_PAUSE)
    }

    /// Issues a certificate, unless the stored one can be used for a further third of its lifetime.
    async fn issue(&self, role: &str, names: &[String]) -> Result<(), Error> {
        let file = file_of(role);
        let id = format!("spiffe://{}/{role}", self.trust_domain);
        let _lock = self.directory.lock(&self.clock).await?;
        if let Some(pem) = self.directory.read(&file)?
            && self.authority.is_usable(&pem, &id, names, self.lifetime, &self.provider, &self.clock)
        {
            return Ok(());
        }
        let pem = self.authority.issue(role, &id, names, self.lifetime, &self.clock)?;
        self.directory.write(&file, &pem)?;
        tracing::info!(id, ?names, "issued a development certificate");
        Ok(())
    }
}

fn file_of(role: &str) -> String {
    format!("role-{role}.pem")
}
