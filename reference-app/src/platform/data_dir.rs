//! The data directory: created at the first start, and locked by one process.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    path::Path,
};

use aws_lc_rs::rand;
use comms_core::Error;

/// A locked data directory. The operating system releases the lock when the process ends.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Creates the directory `path` if it does not exist.
    ///
    /// # Errors
    /// Returns `Invalid` if the directory cannot be created.
    pub fn create(path: &Path) -> Result<(), Error> {
        fs::create_dir_all(path).map_err(|error| Self::unusable(path, &error))
    }

    fn unusable(path: &Path, error: &std::io::Error) -> Error {
        Error::invalid(format!(
            "data directory {}: {error}: make it writable for this user, or set another directory with --data-dir \
             (COMMS_DATA_DIR)",
            path.display()
        ))
    }

    /// Creates the directory `path` if it does not exist, and locks it.
    ///
    /// # Errors
    /// Returns `Invalid` if another process has locked the directory, or if it cannot be written.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        Self::create(path)?;
        let unusable = |error| Self::unusable(path, &error);
        let file = path.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::invalid(format!(
                "data directory {} is in use by another process: stop that process, or set another directory \
                 with --data-dir (COMMS_DATA_DIR)",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(unusable(e)),
        }
    }
}

/// Returns the content of the file at `path`. If the file does not exist, writes the result of `create` to it,
/// readable only by the owner. The file is written under another name and renamed, so that a crash leaves either the
/// whole file or none.
///
/// # Errors
/// Returns `Invalid` if the file cannot be read or written, and the error of `create`.
pub fn read_or_create_secret(
    path: &Path,
    create: impl FnOnce() -> Result<String, Error>,
) -> Result<String, Error> {
    let unusable = |error: std::io::Error| {
        Error::invalid(format!(
            "{}: {error}: make the file and its directory readable and writable for this user",
            path.display()
        ))
    };
    match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        read => return read.map_err(unusable),
    }
    let content = create()?;
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary).map_err(unusable)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)?;
    fs::rename(&temporary, path).map_err(unusable)?;
    Ok(content)
}

/// Returns 32 random bytes as hexadecimal digits.
///
/// # Errors
/// Returns `Fatal` if the operating system returns no random bytes.
pub fn random_secret() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| Error::fatal("the operating system returned no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_with_the_option_to_set() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path()).unwrap();
        let error = DataDir::lock(dir.path()).unwrap_err().chain().to_string();
        assert!(error.contains("in use by another process") && error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::lock(dir.path()).unwrap();
    }

    #[test]
    fn a_secret_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read_or_create_secret(&path, || Ok("one".into())).unwrap(), "one");
        assert_eq!(read_or_create_secret(&path, || Ok("two".into())).unwrap(), "one");
    }
}
