//! The tables of a relay, for operators: branches, parked messages, and their release.

use comms_core::Error;
use comms_outbox::{Branch, Parked, sql_error};

use super::{Backend, Db};

impl Db {
    /// Returns the topics that `relay` delivers apart from its main position.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
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

    /// Returns the first 1,000 messages that `relay` has parked.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
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

    /// Releases the messages with the key `key` that `relay` has parked, and returns their number. `None` releases
    /// the messages without a key.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
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

    /// Returns whether the database is a file in the data directory, which this process has locked.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.0.backend, Backend::Sqlite { .. })
    }
}
