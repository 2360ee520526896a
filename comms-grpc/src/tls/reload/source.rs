//! Where PEM texts come from.

use std::{
    fmt,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
    path::PathBuf,
    sync::Arc,
};

/// The maximum size of a PEM file.
const MAX_FILE: u64 = 1024 * 1024;

/// A PEM text.
#[derive(Clone)]
pub(in crate::tls) enum Source {
    /// The content of a file.
    File(PathBuf),
    /// A text, shared with the settings.
    Memory(Arc<[u8]>),
}

impl Source {
    pub(in crate::tls) fn memory(pem: impl Into<Vec<u8>>) -> Self {
        Self::Memory(pem.into().into())
    }

    /// Returns whether the text never changes.
    pub(super) const fn is_constant(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let path = match self {
            Self::Memory(pem) => return Ok(pem.to_vec()),
            Self::File(path) => path,
        };
        let failed = |reason: &dyn fmt::Display| format!("cannot read {}: {reason}", path.display());
        // To open a pipe could block for ever.
        let is_file = std::fs::metadata(path).map_err(|e| failed(&e))?.is_file();
        if !is_file {
            return Err(failed(&"it is not a file"));
        }
        let mut content = Vec::new();
        let file = File::open(path).map_err(|e| failed(&e))?;
        file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|e| failed(&e))?;
        match content.len() as u64 > MAX_FILE {
            true => Err(failed(&"it is larger than 1 MiB")),
            false => Ok(content),
        }
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

/// Reads all sources. Blocks for the file system.
pub(super) fn read_all(sources: &[Source]) -> Result<Vec<Vec<u8>>, String> {
    sources.iter().map(Source::read).collect()
}

/// Returns the paths of `sources`, for texts.
pub(super) fn names(sources: &[Source]) -> String {
    let names: Vec<_> = sources.iter().map(|source| format!("{source:?}")).collect();
    names.join(" and ")
}

/// Returns a hash that differs if `value` differs, so that no second copy of a key is kept.
pub(super) fn fingerprint<T: std::hash::Hash>(hasher: &RandomState, value: &T) -> u64 {
    hasher.hash_one(value)
}
