//! Result codes of SQLite: <https://www.sqlite.org/rescode.html>. The low byte of an extended code is the primary code.

use comms_core::ErrorKind::{self, Conflict, Indeterminate, Internal, Invalid, Misconfigured, NotExecuted};

const ERROR: i32 = 1;
const IOERR: i32 = 10;
const BUSY_SNAPSHOT: i32 = 517;
/// A commit inside a transaction of [`begin`](crate::sqlite::begin) that was not made by
/// [`commit`](crate::sqlite::commit).
const CONSTRAINT_COMMITHOOK: i32 = 531;

/// Returns the kind of the extended `code`. The `message` distinguishes a missing table from a syntax error.
pub(super) fn kind(code: i32, message: &str) -> ErrorKind {
    match (code, code & 0xff) {
        (BUSY_SNAPSHOT, _) => Conflict,
        (CONSTRAINT_COMMITHOOK, _) => Internal,
        (_, ERROR) if message.contains("no such table") || message.contains("no column") => Misconfigured,
        (_, ERROR) if message.contains("no such") => Misconfigured,
        // ERROR, INTERNAL, ABORT, CORRUPT, MISUSE, RANGE
        (_, ERROR | 2 | 4 | 11 | 21 | 25) => Internal,
        // BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL, SCHEMA
        (_, 5 | 6 | 7 | IOERR | 13 | 14 | 15 | 17) => NotExecuted,
        // PERM, READONLY, NOLFS, AUTH, NOTADB
        (_, 3 | 8 | 22 | 23 | 26) => Misconfigured,
        // TOOBIG, CONSTRAINT, MISMATCH
        (_, 18..=20) => Invalid,
        _ => Indeterminate,
    }
}

/// Returns whether a COMMIT that fails with `code` may have been executed.
pub(super) fn is_lost(code: i32) -> bool {
    code & 0xff == IOERR
}
