//! Classifies errors of the database, for this crate and for the application's own queries.

mod sqlite_code;
mod sqlstate;

use std::{error::Error as StdError, fmt};

use comms_core::{Error, ErrorKind};
use sqlx::error::DatabaseError;

/// Converts an error of a statement inside a transaction, which the error rolls back, to an [`Error`].
///
/// A failure that a reconnect, a retry or an operator can fix is `NotExecuted` or `Misconfigured`: a consumer holds the
/// message and counts no attempt. No error becomes `Fatal`.
///
/// | kind | PostgreSQL (SQLSTATE) | SQLite (result code) |
/// |---|---|---|
/// | `NotExecuted` | 08 connection, 53 resources (memory, disk, connections), 55006 and 55P03 locked, 57P01 to 57P03 shutting down, 58 system, 25006 read-only (standby), 0A000 on a standby, 0A000 cached plan | `BUSY`, `LOCKED`, `NOMEM`, `IOERR`, `FULL`, `CANTOPEN`, `PROTOCOL`, `SCHEMA` |
/// | `Indeterminate` | 57014 `statement_timeout` or cancelled, 25P03 and 25P04 and 57P05 time limits of transaction and session, 40003, and every code that is not in this table | `INTERRUPT`, and every code that is not in this table |
/// | `Conflict` | 40001 serialization failure, 40P01 deadlock, 72 snapshot too old | `BUSY_SNAPSHOT` |
/// | `Invalid` | 22 data, 23 constraint, 44 view check, 54 program limit, P0001 `RAISE` | `CONSTRAINT`, `TOOBIG`, `MISMATCH` |
/// | `Misconfigured` | 28 login, 3D database, 3F schema, 42501 permission, 42P01, 42703, 42704 and 42883 missing table, column, type or function, 57P04 database dropped, 42P05 and 26000 prepared statements behind a pooler, 08P01 startup parameter behind a pooler, F0, other 0A, other 55 | `PERM`, `READONLY`, `AUTH`, `NOTADB`, `NOLFS`, `ERROR` for a missing table or column |
/// | `Internal` | XX corruption and server defects, 25P02 a statement after a failed one, other 25, other 42 (syntax, types), 0B, 21, 24, 2D, 2F, 34, 38, 39, 3B, P0 | `CORRUPT`, `MISUSE`, `RANGE`, `INTERNAL`, `ABORT`, other `ERROR`, `CONSTRAINT_COMMITHOOK` |
///
/// | kind | sqlx |
/// |---|---|
/// | `NotExecuted` | `Io`, `Protocol`, `PoolTimedOut`, `PoolClosed`, `WorkerCrashed`, `BeginFailed` |
/// | `NotFound` | `RowNotFound` |
/// | `Invalid` | `Encode` |
/// | `Misconfigured` | `Configuration`, `Tls`, `Migrate` |
/// | `Internal` | a row that does not decode (`ColumnDecode`, `Decode`, `ColumnNotFound`, `ColumnIndexOutOfBounds`, `TypeNotFound`, `AnyDriverError`), `InvalidArgument`, `InvalidSavePointStatement` |
/// | `Indeterminate` | every other error |
///
/// If a client may read errors of the kind ([`ErrorKind::is_public`]), the text is one of this crate with the code of
/// the database. The text of the database, which names tables and values, is logged and becomes the source of the
/// error.
///
/// A statement outside a transaction may have been executed although its connection broke. Use [`commit_error`] for
/// such a statement.
///
/// ```
/// use comms_core::ErrorKind;
/// let error = comms_outbox::sql_error(sqlx::Error::PoolTimedOut);
/// assert_eq!(error.kind, ErrorKind::NotExecuted);
/// ```
#[must_use]
pub fn sql_error(error: sqlx::Error) -> Error {
    let kind = kind(&error);
    if kind.is_public() {
        tracing::info!(%error, "the database refused a statement");
        return Error::new(kind, Described { text: public_text(&error), source: error });
    }
    match advice(&error) {
        Some(advice) => Error::new(kind, Described { text: format!("{error}: {advice}"), source: error }),
        None => Error::new(kind, error),
    }
}

/// Converts an error of `COMMIT`, or of a statement outside a transaction, to an [`Error`].
///
/// If the result of the statement was lost, the transaction may have been committed, and the kind is `Indeterminate`.
/// That is the case if the connection broke (`Io`, `Protocol`, `WorkerCrashed`, 08, 57P, 40003), or if SQLite could not
/// write (`IOERR`). Every other error has the kind of [`sql_error`].
#[must_use]
pub fn commit_error(error: sqlx::Error) -> Error {
    let lost = match &error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => match sqlite(&**e) {
            Some(code) => sqlite_code::is_lost(code),
            None => e.code().is_some_and(|code| sqlstate::is_lost(&code)),
        },
        _ => false,
    };
    if lost { Error::indeterminate(error) } else { sql_error(error) }
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    use sqlx::Error as E;
    match error {
        E::Database(error) => match sqlite(&**error) {
            Some(code) => sqlite_code::kind(code, error.message()),
            None => sqlstate::kind(&error.code().unwrap_or_default(), error.message()),
        },
        E::Io(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
            ErrorKind::NotExecuted
        }
        E::RowNotFound => ErrorKind::NotFound,
        E::Encode(_) => ErrorKind::Invalid,
        E::Configuration(_) | E::Tls(_) | E::Migrate(_) => ErrorKind::Misconfigured,
        E::TypeNotFound { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::ColumnDecode { .. }
        | E::Decode(_)
        | E::AnyDriverError(_)
        | E::InvalidArgument(_)
        | E::InvalidSavePointStatement => ErrorKind::Internal,
        _ => ErrorKind::Indeterminate,
    }
}

/// Returns the extended result code if `error` is one of SQLite.
fn sqlite(error: &dyn DatabaseError) -> Option<i32> {
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return Some(error.code().and_then(|code| code.parse().ok()).unwrap_or_default());
    }
    let _ = error;
    None
}

/// Returns a text without names and values, which a client may read.
fn public_text(error: &sqlx::Error) -> String {
    use sqlx::error::ErrorKind as Constraint;
    let sqlx::Error::Database(error) = error else {
        return match error {
            sqlx::Error::RowNotFound => "the database has no such row".to_owned(),
            _ => "the database cannot store a value".to_owned(),
        };
    };
    let code = error.code().unwrap_or_default();
    let text = match error.kind() {
        Constraint::UniqueViolation => "a value that must be unique exists already",
        Constraint::ForeignKeyViolation => "a referenced row is missing, or a row is still referenced",
        Constraint::NotNullViolation | Constraint::CheckViolation => "a value violates a constraint",
        _ if matches!(&*code, "40001" | "40P01" | "517") => "a concurrent transaction changed the same rows",
        _ => "the database refused a value",
    };
    format!("{text} (database code {code})")
}

/// Returns how to fix the failure, if the text of the database does not contain it.
fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let sqlx::Error::Database(error) = error else { return None };
    sqlstate::advice(&error.code()?, error.message())
}

/// An error of the database with a text of this crate.
#[derive(Debug)]
struct Described {
    text: String,
    source: sqlx::Error,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Described {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests;
