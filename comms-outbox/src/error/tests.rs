//! The table of kinds, row by row.

use super::*;

#[test]
fn postgres_codes_have_their_kinds() {
    let table = [
        ("40001", ErrorKind::Conflict),    // serialization_failure
        ("40P01", ErrorKind::Conflict),    // deadlock_detected
        ("55P03", ErrorKind::NotExecuted), // lock_not_available
        ("57P01", ErrorKind::NotExecuted), // admin_shutdown
        ("57P03", ErrorKind::NotExecuted), // cannot_connect_now
        ("57014", ErrorKind::NotExecuted), // query_canceled
        ("53300", ErrorKind::NotExecuted), // too_many_connections
        ("53100", ErrorKind::NotExecuted), // disk_full
        ("08006", ErrorKind::NotExecuted), // connection_failure
        ("25006", ErrorKind::NotExecuted), // read_only_sql_transaction
        ("58030", ErrorKind::NotExecuted), // io_error
        ("23505", ErrorKind::Invalid),     // unique_violation
        ("23514", ErrorKind::Invalid),     // check_violation
        ("23502", ErrorKind::Invalid),     // not_null_violation
        ("22001", ErrorKind::Invalid),     // string_data_right_truncation
        ("54000", ErrorKind::Invalid),     // program_limit_exceeded
        ("P0001", ErrorKind::Invalid),     // raise_exception
        ("42P01", ErrorKind::Fatal),       // undefined_table
        ("42601", ErrorKind::Fatal),       // syntax_error
        ("28P01", ErrorKind::Fatal),       // invalid_password
        ("3D000", ErrorKind::Fatal),       // invalid_catalog_name
        ("XX001", ErrorKind::Fatal),       // data_corrupted
        ("", ErrorKind::NotExecuted),
    ];
    for (code, kind) in table {
        assert_eq!(sqlstate(code), kind, "{code}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_codes_have_their_kinds() {
    let table = [
        (5, ErrorKind::NotExecuted),   // BUSY
        (261, ErrorKind::NotExecuted), // BUSY_RECOVERY
        (517, ErrorKind::Conflict),    // BUSY_SNAPSHOT
        (6, ErrorKind::NotExecuted),   // LOCKED
        (13, ErrorKind::NotExecuted),  // FULL
        (778, ErrorKind::NotExecuted), // IOERR_WRITE
        (14, ErrorKind::NotExecuted),  // CANTOPEN
        (2067, ErrorKind::Invalid),    // CONSTRAINT_UNIQUE
        (1299, ErrorKind::Invalid),    // CONSTRAINT_NOTNULL
        (275, ErrorKind::Invalid),     // CONSTRAINT_CHECK
        (18, ErrorKind::Invalid),      // TOOBIG
        (1, ErrorKind::Fatal),         // ERROR: no such table
        (11, ErrorKind::Fatal),        // CORRUPT
        (8, ErrorKind::Fatal),         // READONLY
    ];
    for (code, kind) in table {
        assert_eq!(sqlite_code(code), kind, "{code}");
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_unknown() {
    let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    assert_eq!(sql_error(broken()).kind, ErrorKind::NotExecuted);
    assert_eq!(commit_error(broken()).kind, ErrorKind::Indeterminate);
    assert_eq!(commit_error(sqlx::Error::PoolTimedOut).kind, ErrorKind::NotExecuted);
}
