//! What an operator asks of a relay's tables.

use comms_core::Error;
use comms_outbox::{Branch, Parked, sql_error};

use super::{Backend, Db};

impl Db {
    /// The destinations that `relay` delivers apart from its main position.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet; otherwise as [`sql_error`] classifies them.
    pub async fn branches(&self, relay: &str) -> Result<Vec<Branch>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.branches(&mut *pool.acquire().await.map_err(sql_error)?, relay).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.branches(&mut *reader.acquire().await.map_err(sql_error)?, relay).await
            }
        }
    }

    /// The messages that `relay` has parked; at most the first 1,000.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet; otherwise as [`sql_error`] classifies them.
    pub async fn parked(&self, relay: &str) -> Result<Vec<Parked>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.parked(&mut *pool.acquire().await.map_err(sql_error)?, relay).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.parked(&mut *reader.acquire().await.map_err(sql_error)?, relay).await
            }
        }
    }

    /// Releases the messages of `key` that `relay` has parked (`None`: those without a key). Returns how many.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet; otherwise as [`sql_error`] classifies them.
    pub async fn release(&self, relay: &str, key: Option<&[u8]>) -> Result<u64, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.release(&mut *pool.acquire().await.map_err(sql_error)?, relay, key).await
            }
            Backend::Sqlite { writer, tables, .. } => {
                tables.release(&mut *writer.acquire().await.map_err(sql_error)?, relay, key).await
            }
        }
    }

    /// Whether the database is a file in the data directory, which one process has locked.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.0.backend, Backend::Sqlite { .. })
    }
}
