//! A transaction of either database.

use std::ops::{Deref, DerefMut};

use comms_core::{Error, Scoped};
use comms_outbox::{sql_error, sqlite};

use super::{
    render,
    value::{self, Row, Value},
};

/// An open transaction. Dropping it rolls it back, except for the transaction of a projection, which its owner commits.
pub struct Tx {
    pub(super) schema: &'static str,
    pub(super) backend: TxBackend,
}

pub(super) enum TxBackend {
    Postgres(Owner<sqlx::Transaction<'static, sqlx::Postgres>>),
    Sqlite(Owner<sqlite::SqliteTx>),
}

/// Who ends a transaction.
pub(super) enum Owner<T> {
    /// The holder of the transaction.
    Holder(T),
    /// The projection that has lent the transaction to its function.
    Projection(Scoped<T>),
}

impl<T> Owner<T> {
    /// Returns the transaction, to commit it.
    ///
    /// # Errors
    /// Returns `Internal` if a projection has lent the transaction. It is a defect of this program.
    pub(super) fn owned(self) -> Result<T, Error> {
        match self {
            Self::Holder(tx) => Ok(tx),
            Self::Projection(_) => Err(Error::internal("only the projection commits its transaction")),
        }
    }
}

impl<T> From<T> for Owner<T> {
    fn from(tx: T) -> Self {
        Self::Holder(tx)
    }
}

impl<T> Deref for Owner<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Holder(tx) => tx,
            Self::Projection(tx) => tx,
        }
    }
}

impl<T> DerefMut for Owner<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Holder(tx) => tx,
            Self::Projection(tx) => tx,
        }
    }
}

impl Tx {
    /// Runs a statement and returns the number of changed rows.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`] derives from the database's error.
    pub async fn execute(&mut self, sql: &'static str, args: &[Value]) -> Result<u64, Error> {
        let sql = render(self.schema, sql);
        let result = match &mut self.backend {
            TxBackend::Postgres(tx) => {
                let done = value::bind_pg(sqlx::query(sql), args).execute(&mut ***tx).await;
                done.map(|d| d.rows_affected()).map_err(sql_error)
            }
            TxBackend::Sqlite(tx) => {
                let done = value::bind_sqlite(sqlx::query(sql), args).execute(&mut ***tx).await;
                done.map(|d| d.rows_affected()).map_err(sql_error)
            }
        };
        self.checked(result)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`] derives from the database's error.
    pub async fn fetch(&mut self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
        let sql = render(self.schema, sql);
        let result = match &mut self.backend {
            TxBackend::Postgres(tx) => {
                let rows = value::bind_pg(sqlx::query(sql), args).fetch_all(&mut ***tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect()).map_err(sql_error)
            }
            TxBackend::Sqlite(tx) => {
                let rows = value::bind_sqlite(sqlx::query(sql), args).fetch_all(&mut ***tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect()).map_err(sql_error)
            }
        };
        self.checked(result)
    }

    /// Makes the commit fail if a statement failed, so that a handler that ignores the failure commits nothing.
    /// PostgreSQL does this itself.
    pub(super) fn checked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let (Err(_), TxBackend::Sqlite(tx)) = (&result, &self.backend) {
            tx.refuse_commit();
        }
        result
    }

    /// Returns whether rows must be locked one by one. An SQLite transaction locks the whole file.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self.backend, TxBackend::Postgres(_))
    }
}
