//! The data directory: made at the first start, locked by one process.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    path::Path,
};

use comms_core::Error;

/// A locked data directory. The lock ends with the process, however that ends.
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
            "data directory {}: {error}: make it writable for this user, or name another with --data-dir \
             (COMMS_DATA_DIR)",
            path.display()
        ))
    }

    /// Creates the directory `path` if it does not exist, and locks it.
    ///
    /// # Errors
    /// Returns `Invalid` if another process has locked it, or if it cannot be written.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        Self::create(path)?;
        let refuse = |error| Self::unusable(path, &error);
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::invalid(format!(
                "data directory {} is in use by another process: stop that one, or give this one its own \
                 with --data-dir (COMMS_DATA_DIR)",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(refuse(e)),
        }
    }
}

/// The content of the file at `path`, made by `make` where it is not there, readable by its owner alone.
/// Written beside and renamed, so that a crash leaves all of it or nothing.
///
/// # Errors
/// Those of the file system and of `make`.
pub fn secret_file(path: &Path, make: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
    let refuse = |e: std::io::Error| Error::invalid(format!("{}: {e}", path.display()));
    match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        read => return read.map_err(refuse),
    }
    let content = make()?;
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh).map_err(refuse)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(refuse)?;
    fs::rename(&fresh, path).map_err(refuse)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path()).unwrap();
        let error = DataDir::lock(dir.path()).unwrap_err().chain().to_string();
        assert!(error.contains("in use by another process") && error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::lock(dir.path()).unwrap();
    }

    #[test]
    fn a_secret_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(secret_file(&path, || Ok("one".into())).unwrap(), "one");
        assert_eq!(secret_file(&path, || Ok("two".into())).unwrap(), "one");
    }
}
