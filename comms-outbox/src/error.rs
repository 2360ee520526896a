//! What a database's failure means: one table, for this crate and for the application's own queries.

use comms_core::{Error, ErrorKind};
use sqlx::error::DatabaseError;

/// Classifies a failure of the database.
///
/// | kind | PostgreSQL | SQLite |
/// |---|---|---|
/// | `Conflict` | serialization failure, deadlock | `BUSY_SNAPSHOT` |
/// | `NotExecuted` | connection, shut-down, resources, time-outs, read-only replica, anything unknown | `BUSY`, `LOCKED`, `FULL`, `IOERR`, … |
/// | `Invalid` | constraint, data, program limit | constraint, `TOOBIG`, `MISMATCH`, `RANGE` |
/// | `Fatal` | syntax, missing table or right, corruption | the same |
///
/// ```
/// use comms_core::ErrorKind;
/// let error = comms_outbox::sql_error(sqlx::Error::PoolTimedOut);
/// assert_eq!(error.kind, ErrorKind::NotExecuted);
/// ```
#[must_use]
pub fn sql_error(error: sqlx::Error) -> Error {
    Error::new(kind(&error), error)
}

/// Classifies a failure of `COMMIT`: where the answer was lost, the transaction may have happened, and the
/// kind is `Indeterminate`. For a [`UnitOfWork`](comms_core::UnitOfWork) of the application's own.
#[must_use]
pub fn commit_error(error: sqlx::Error) -> Error {
    let lost = match &error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // The server was stopped while the commit was on its way.
        sqlx::Error::Database(e) => e.code().is_some_and(|c| c.starts_with("57P") || c.starts_with("08")),
        _ => false,
    };
    if lost { Error::indeterminate(error) } else { sql_error(error) }
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    use sqlx::Error as E;
    match error {
        E::Database(error) => database(&**error),
        E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
            ErrorKind::NotExecuted
        }
        E::BeginFailed => ErrorKind::NotExecuted,
        E::Configuration(_) | E::InvalidSavePointStatement | E::Migrate(_) => ErrorKind::Fatal,
        // What remains is a value that does not fit its column, or a row that is not there.
        _ => ErrorKind::Invalid,
    }
}

fn database(error: &dyn DatabaseError) -> ErrorKind {
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return error.code().and_then(|c| c.parse().ok()).map_or(ErrorKind::NotExecuted, sqlite_code);
    }
    error.code().as_deref().map_or(ErrorKind::NotExecuted, sqlstate)
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn sqlstate(code: &str) -> ErrorKind {
    match code {
        "40001" | "40P01" => return ErrorKind::Conflict,
        "XX001" | "XX002" => return ErrorKind::Fatal,
        _ => {}
    }
    match code.get(..2) {
        // Data, integrity, a user's own RAISE, program limits: the input is at fault, and stays so.
        Some("22" | "23" | "44" | "54" | "P0") => ErrorKind::Invalid,
        // Rights, names, syntax, features: this program does not fit this database.
        Some("0A" | "28" | "2F" | "38" | "39" | "3D" | "3F" | "42") => ErrorKind::Fatal,
        _ => ErrorKind::NotExecuted,
    }
}

/// <https://www.sqlite.org/rescode.html>: the low byte is the primary code.
#[cfg(feature = "sqlite")]
fn sqlite_code(code: i32) -> ErrorKind {
    const BUSY_SNAPSHOT: i32 = 517;
    match (code, code & 0xff) {
        (BUSY_SNAPSHOT, _) => ErrorKind::Conflict,
        // CONSTRAINT, TOOBIG, MISMATCH, RANGE
        (_, 18 | 19 | 20 | 25) => ErrorKind::Invalid,
        // ERROR (syntax, no such table), PERM, READONLY, CORRUPT, MISUSE, AUTH, NOTADB
        (_, 1 | 3 | 8 | 11 | 21 | 23 | 26) => ErrorKind::Fatal,
        _ => ErrorKind::NotExecuted,
    }
}

#[cfg(test)]
mod tests;
