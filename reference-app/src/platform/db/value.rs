//! Parameters and columns, in the types that both databases share.

use comms_core::Error;
use comms_outbox::sql_error;
use sqlx::{Row as _, postgres::PgRow, query::Query, sqlite::SqliteRow};

/// A parameter of a statement.
#[derive(Debug, Clone)]
pub enum Value {
    /// TEXT.
    Text(String),
    /// TEXT or NULL.
    MaybeText(Option<String>),
    /// BIGINT.
    Int(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::MaybeText(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

type PgQuery = Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;
type SqliteQuery = Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

pub(super) fn bind_pg(query: PgQuery, args: &[Value]) -> PgQuery {
    args.iter().fold(query, |query, value| match value.clone() {
        Value::Text(text) => query.bind(text),
        Value::MaybeText(text) => query.bind(text),
        Value::Int(number) => query.bind(number),
    })
}

pub(super) fn bind_sqlite(query: SqliteQuery, args: &[Value]) -> SqliteQuery {
    args.iter().fold(query, |query, value| match value.clone() {
        Value::Text(text) => query.bind(text),
        Value::MaybeText(text) => query.bind(text),
        Value::Int(number) => query.bind(number),
    })
}

/// A row of either database.
pub enum Row {
    /// A row of PostgreSQL.
    Postgres(PgRow),
    /// A row of SQLite.
    Sqlite(SqliteRow),
}

impl Row {
    /// Returns a TEXT column.
    ///
    /// # Errors
    /// Returns `Internal` if the column does not exist, is NULL or has
    /// another type.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column).map_err(sql_error),
            Self::Sqlite(row) => row.try_get(column).map_err(sql_error),
        }
    }

    /// Returns a TEXT column that may be NULL.
    ///
    /// # Errors
    /// Returns `Internal` if the column does not exist or has another type.
    pub fn maybe_text(&self, column: &str) -> Result<Option<String>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column).map_err(sql_error),
            Self::Sqlite(row) => row.try_get(column).map_err(sql_error),
        }
    }

    /// Returns a BIGINT column that may be NULL.
    ///
    /// # Errors
    /// Returns `Internal` if the column does not exist or has another type.
    pub fn maybe_int(&self, column: &str) -> Result<Option<i64>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column).map_err(sql_error),
            Self::Sqlite(row) => row.try_get(column).map_err(sql_error),
        }
    }

    /// Returns a BIGINT column.
    ///
    /// # Errors
    /// Returns `Internal` if the column does not exist, is NULL or has
    /// another type.
    pub fn int(&self, column: &str) -> Result<i64, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column).map_err(sql_error),
            Self::Sqlite(row) => row.try_get(column).map_err(sql_error),
        }
    }
}
