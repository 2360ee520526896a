//! Where PEM texts come from.

use std::{
    fmt,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use zeroize::Zeroizing;

/// The maximum size of a PEM file.
const MAX_FILE: usize = 1024 * 1024;

/// A text that may have a private key, and is overwritten when it is dropped.
pub(in crate::tls) type Secret = Zeroizing<Vec<u8>>;

/// A PEM text.
#[derive(Clone)]
pub(in crate::tls) enum Source {
    /// The content of a file.
    File(PathBuf),
    /// A text, shared with the settings.
    Memory(Arc<Secret>),
}

impl Source {
    pub(in crate::tls) fn memory(pem: impl Into<Vec<u8>>) -> Self {
        Self::Memory(Arc::new(Zeroizing::new(pem.into())))
    }

    /// Returns whether the text never changes.
    pub(super) const fn is_constant(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    fn read(&self) -> Result<Secret, String> {
        let path = match self {
            Self::Memory(pem) => return Ok(Secret::clone(pem)),
            Self::File(path) => path,
        };
        let failed = |reason: &dyn fmt::Display| format!("cannot read {}: {reason}", path.display());
        // To open a pipe could block for ever.
        let is_file = std::fs::metadata(path).map_err(|e| failed(&e))?.is_file();
        if !is_file {
            return Err(failed(&"it is not a file"));
        }
        let mut file = File::open(path).map_err(|e| failed(&e))?;
        // A buffer that grew would leave copies behind.
        let mut content = Zeroizing::new(vec![0; MAX_FILE + 1]);
        let length = read_into(&mut file, &mut content).map_err(|e| failed(&e))?;
        if length > MAX_FILE {
            return Err(failed(&"it is larger than 1 MiB"));
        }
        content.truncate(length);
        Ok(content)
    }
}

/// Prints no content, because it may be a private key.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Memory(_) => f.write_str("in memory"),
        }
    }
}

/// Reads until `buffer` is full or the file ends. Returns the number of bytes.
fn read_into(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    loop {
        match file.read(buffer.get_mut(length..).unwrap_or_default()) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads all sources. Blocks for the file system.
pub(super) fn read_all(sources: &[Source]) -> Result<Vec<Secret>, String> {
    sources.iter().map(Source::read).collect()
}

/// Returns the paths of `sources`, for texts.
pub(super) fn names(sources: &[Source]) -> String {
    let names: Vec<_> = sources.iter().map(|source| format!("{source:?}")).collect();
    names.join(" and ")
}

/// Returns a hash that differs if the reading differs, so that no second copy of a key is kept.
pub(super) fn fingerprint(hasher: &RandomState, files: &Result<Vec<Secret>, String>) -> u64 {
    let content = files.as_ref().map(|files| files.iter().map(|file| file.as_slice()).collect::<Vec<_>>());
    hasher.hash_one(content)
}
