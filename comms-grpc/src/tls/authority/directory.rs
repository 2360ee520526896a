//! The files of the authority: readable by the owner alone, written as a whole, and locked.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use comms_core::{Error, clock::Clock};
use zeroize::Zeroizing;

/// The longest wait for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Directory(PathBuf);

/// The lock of the directory. The operating system releases it when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Directory {
    /// Creates the directory if it does not exist.
    pub(super) fn create(path: PathBuf) -> Result<Self, Error> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|e| unusable(&path, &e))?;
        check_owner_only(&path, "700")?;
        Ok(Self(path))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Waits until no other process creates files.
    pub(super) async fn lock(&self, clock: &Clock) -> Result<Lock, Error> {
        let path = self.path("lock");
        let file = options().create(true).truncate(false).open(&path).map_err(|e| unusable(&path, &e))?;
        let end = clock.now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if clock.now() < end => clock.sleep(LOCK_PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::misconfigured(format!(
                        "{}: another process has held the lock for 10 s: end it",
                        path.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
            }
        }
    }

    /// Returns the content of a file, or `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let path = self.path(name);
        match fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(content) => check_owner_only(&path, "600").map(|()| Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Writes a file under another name, and renames it.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), Error> {
        let path = self.path(name);
        let temporary = self.path(&format!("{name}.new"));
        let write = || -> io::Result<()> {
            // A process that died may have left one.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options().create_new(true).open(&temporary)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            // The new name is durable after the directory is.
            #[cfg(unix)]
            File::open(&self.0)?.sync_all()?;
            Ok(())
        };
        write().map_err(|e| unusable(&path, &e))
    }
}

/// Returns options for a file that the owner alone can read.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Returns an error if other users may use `path`.
#[cfg_attr(not(unix), allow(unused_variables, reason = "other systems have no mode"))]
fn check_owner_only(path: &Path, mode: &str) -> Result<(), Error> {
    #[cfg(unix)]
    {
        let permissions = fs::metadata(path).map_err(|e| unusable(path, &e))?.permissions();
        if std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o077 != 0 {
            let path = path.display();
            return Err(Error::misconfigured(format!("other users may use {path}: run chmod {mode} {path}")));
        }
    }
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    Error::misconfigured(format!("{path}: {error}: make it readable and writable for this user"))
}
