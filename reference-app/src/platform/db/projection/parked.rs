//! The events that projections cannot apply, for operators.

use comms_core::Error;
use comms_outbox::{ParkedEvent, sql_error};

use super::{Backend, Db};

impl Db {
    /// Returns the event at which each revision of the projection `name` is parked, and the events that were skipped.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn parked_events(&self, name: &str) -> Result<Vec<ParkedEvent>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.parked_events(&mut *pool.acquire().await.map_err(sql_error)?, name).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.parked_events(&mut *reader.acquire().await.map_err(sql_error)?, name).await
            }
        }
    }

    /// Makes a projection attempt `event`, at which it is parked, again, within a second. Returns `false` if it is not
    /// parked at this event.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn retry_event(&self, event: &ParkedEvent) -> Result<bool, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.retry_event(&mut *pool.acquire().await.map_err(sql_error)?, event).await
            }
            Backend::Sqlite { writer, tables, .. } => {
                tables.retry_event(&mut *writer.acquire().await.map_err(sql_error)?, event).await
            }
        }
    }

    /// Makes a projection pass over `event`, at which it is parked, within a second. The event, the failure and `reason`
    /// stay in the table. Returns `false` if the projection is not parked at this event.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn skip_event(&self, event: &ParkedEvent, reason: &str) -> Result<bool, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.skip_event(&mut *pool.acquire().await.map_err(sql_error)?, event, reason).await
            }
            Backend::Sqlite { writer, tables, .. } => {
                tables.skip_event(&mut *writer.acquire().await.map_err(sql_error)?, event, reason).await
            }
        }
    }
}
