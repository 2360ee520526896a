//! The table of kinds, row by row.

use std::borrow::Cow;

use comms_core::ErrorKind::{
    Conflict, Indeterminate, Internal, Invalid, Misconfigured, NotExecuted, NotFound,
};

use super::*;

/// An error as PostgreSQL reports it.
#[derive(Debug)]
struct Reported(&'static str, &'static str);

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl StdError for Reported {}

impl DatabaseError for Reported {
    fn message(&self) -> &str {
        self.1
    }
    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }
    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }
    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }
    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }
    fn kind(&self) -> sqlx::error::ErrorKind {
        match self.0 {
            "23505" => sqlx::error::ErrorKind::UniqueViolation,
            _ => sqlx::error::ErrorKind::Other,
        }
    }
}

fn reported(code: &'static str, text: &'static str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Reported(code, text)))
}

#[test]
fn every_sqlstate_has_its_kind() {
    let table = [
        ("08000", "", NotExecuted), // connection_exception
        ("08006", "", NotExecuted), // connection_failure
        ("08P01", "server closed the connection", NotExecuted),
        ("08P01", "unsupported startup parameter: extra_float_digits", Misconfigured),
        ("0A000", "cached plan must not change result type", NotExecuted),
        ("0A000", "cannot access temporary or unlogged relations during recovery", NotExecuted),
        ("0A000", "cannot do this", Misconfigured), // feature_not_supported
        ("0B000", "", Internal),                    // invalid_transaction_initiation
        ("21000", "", Internal),                    // cardinality_violation
        ("22001", "", Invalid),                     // string_data_right_truncation
        ("22021", "", Invalid),                     // character_not_in_repertoire (NUL)
        ("23502", "", Invalid),                     // not_null_violation
        ("23503", "", Invalid),                     // foreign_key_violation
        ("23505", "", Invalid),                     // unique_violation
        ("23514", "", Invalid),                     // check_violation
        ("24000", "", Internal),                    // invalid_cursor_state
        ("25001", "", Internal),                    // active_sql_transaction
        ("25006", "", NotExecuted),                 // read_only_sql_transaction
        ("25P02", "", Internal),                    // in_failed_sql_transaction
        ("25P03", "", Indeterminate),               // idle_in_transaction_session_timeout
        ("25P04", "", Indeterminate),               // transaction_timeout
        ("26000", "", Misconfigured),               // invalid_sql_statement_name
        ("28000", "", Misconfigured),               // invalid_authorization_specification
        ("28P01", "", Misconfigured),               // invalid_password
        ("2D000", "", Internal),                    // invalid_transaction_termination
        ("2F003", "", Internal),                    // prohibited_sql_statement_attempted
        ("34000", "", Internal),                    // invalid_cursor_name
        ("38001", "", Internal),                    // containing_sql_not_permitted
        ("39000", "", Internal),                    // external_routine_invocation_exception
        ("3B001", "", Internal),                    // invalid_savepoint_specification
        ("3D000", "", Misconfigured),               // invalid_catalog_name
        ("3F000", "", Misconfigured),               // invalid_schema_name
        ("40001", "", Conflict),                    // serialization_failure
        ("40003", "", Indeterminate),               // statement_completion_unknown
        ("40P01", "", Conflict),                    // deadlock_detected
        ("42501", "", Misconfigured),               // insufficient_privilege
        ("42601", "", Internal),                    // syntax_error
        ("42804", "", Internal),                    // datatype_mismatch
        ("42703", "", Misconfigured),               // undefined_column
        ("42704", "", Misconfigured),               // undefined_object
        ("42883", "", Misconfigured),               // undefined_function
        ("42P01", "", Misconfigured),               // undefined_table
        ("42P05", "", Misconfigured),               // duplicate_prepared_statement
        ("44000", "", Invalid),                     // with_check_option_violation
        ("53100", "", NotExecuted),                 // disk_full
        ("53200", "", NotExecuted),                 // out_of_memory
        ("53300", "", NotExecuted),                 // too_many_connections
        ("54000", "", Invalid),                     // program_limit_exceeded
        ("55000", "", Misconfigured),               // object_not_in_prerequisite_state
        ("55006", "", NotExecuted),                 // object_in_use
        ("55P03", "", NotExecuted),                 // lock_not_available
        ("57014", "", Indeterminate),               // query_canceled
        ("57P01", "", NotExecuted),                 // admin_shutdown
        ("57P02", "", NotExecuted),                 // crash_shutdown
        ("57P03", "", NotExecuted),                 // cannot_connect_now
        ("57P04", "", Misconfigured),               // database_dropped
        ("57P05", "", Indeterminate),               // idle_session_timeout
        ("58030", "", NotExecuted),                 // io_error
        ("58P01", "", NotExecuted),                 // undefined_file
        ("72000", "", Conflict),                    // snapshot_too_old
        ("F0000", "", Misconfigured),               // config_file_error
        ("P0001", "", Invalid),                     // raise_exception
        ("P0002", "", Internal),                    // no_data_found
        ("XX000", "", Internal),                    // internal_error
        ("XX001", "", Internal),                    // data_corrupted
        ("XX002", "", Internal),                    // index_corrupted
        ("HV000", "", Indeterminate),               // fdw_error
        ("99999", "", Indeterminate),
        ("", "", Indeterminate),
    ];
    for (code, message, kind) in table {
        assert_eq!(sql_error(reported(code, message)).kind, kind, "{code} {message}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn every_result_code_of_sqlite_has_its_kind() {
    let table = [
        (1, "no such table: comms_inbox", Misconfigured),
        (1, "no such column: a", Misconfigured),
        (1, "table t has no column named a", Misconfigured),
        (1, "near \"SELEC\": syntax error", Internal),
        (2, "", Internal),        // INTERNAL
        (3, "", Misconfigured),   // PERM
        (516, "", Internal),      // ABORT_ROLLBACK
        (5, "", NotExecuted),     // BUSY
        (261, "", NotExecuted),   // BUSY_RECOVERY
        (517, "", Conflict),      // BUSY_SNAPSHOT
        (6, "", NotExecuted),     // LOCKED
        (7, "", NotExecuted),     // NOMEM
        (8, "", Misconfigured),   // READONLY
        (9, "", Indeterminate),   // INTERRUPT
        (778, "", NotExecuted),   // IOERR_WRITE
        (11, "", Internal),       // CORRUPT
        (13, "", NotExecuted),    // FULL
        (14, "", NotExecuted),    // CANTOPEN
        (15, "", NotExecuted),    // PROTOCOL
        (17, "", NotExecuted),    // SCHEMA
        (18, "", Invalid),        // TOOBIG
        (275, "", Invalid),       // CONSTRAINT_CHECK
        (531, "", Internal),      // CONSTRAINT_COMMITHOOK
        (1299, "", Invalid),      // CONSTRAINT_NOTNULL
        (2067, "", Invalid),      // CONSTRAINT_UNIQUE
        (20, "", Invalid),        // MISMATCH
        (21, "", Internal),       // MISUSE
        (22, "", Misconfigured),  // NOLFS
        (23, "", Misconfigured),  // AUTH
        (25, "", Internal),       // RANGE
        (26, "", Misconfigured),  // NOTADB
        (100, "", Indeterminate), // no error code
    ];
    for (code, message, kind) in table {
        assert_eq!(sqlite_code::kind(code, message), kind, "{code} {message}");
    }
}

#[test]
fn every_sqlx_error_has_its_kind() {
    use sqlx::Error as E;
    let cause = || Box::<dyn StdError + Send + Sync>::from("cause");
    let table = [
        (E::Io(std::io::ErrorKind::ConnectionReset.into()), NotExecuted),
        (E::Protocol("?".into()), NotExecuted),
        (E::PoolTimedOut, NotExecuted),
        (E::PoolClosed, NotExecuted),
        (E::WorkerCrashed, NotExecuted),
        (E::BeginFailed, NotExecuted),
        (E::RowNotFound, NotFound),
        (E::Encode(cause()), Invalid),
        (E::Configuration(cause()), Misconfigured),
        (E::Tls(cause()), Misconfigured),
        (E::TypeNotFound { type_name: "t".into() }, Internal),
        (E::ColumnIndexOutOfBounds { index: 1, len: 1 }, Internal),
        (E::ColumnNotFound("c".into()), Internal),
        (E::ColumnDecode { index: "c".into(), source: cause() }, Internal),
        (E::Decode(cause()), Internal),
        (E::AnyDriverError(cause()), Internal),
        (E::InvalidArgument("a".into()), Internal),
        (E::InvalidSavePointStatement, Internal),
    ];
    for (error, kind) in table {
        let text = error.to_string();
        assert_eq!(sql_error(error).kind, kind, "{text}");
    }
}

#[test]
fn a_commit_with_a_lost_result_is_indeterminate() {
    let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    assert_eq!(sql_error(broken()).kind, NotExecuted);
    assert_eq!(commit_error(broken()).kind, Indeterminate);
    assert_eq!(commit_error(sqlx::Error::PoolTimedOut).kind, NotExecuted);
    for code in ["08006", "57P01", "40003"] {
        assert_eq!(commit_error(reported(code, "")).kind, Indeterminate, "{code}");
    }
    assert_eq!(commit_error(reported("40001", "")).kind, Conflict);
    assert!(sqlite_code::is_lost(1034), "IOERR_FSYNC");
    assert!(!sqlite_code::is_lost(13) && !sqlite_code::is_lost(5), "FULL, BUSY");
}

/// A client reads a text of this crate; the text of the database goes to the log.
#[test]
fn public_texts_do_not_name_the_schema() {
    let text = "duplicate key value violates unique constraint \"users_mail_key\"";
    for code in ["23505", "22001", "40001", "P0001"] {
        let error = sql_error(reported(code, text));
        assert!(error.kind.is_public());
        assert!(!error.to_string().contains("users_mail_key"), "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(error.cause().source().map(ToString::to_string).as_deref(), sqlx_text(text).as_deref());
    }
    assert!(!sql_error(sqlx::Error::Encode("users_mail_key".into())).to_string().contains("users_mail_key"));
}

fn sqlx_text(text: &str) -> Option<String> {
    Some(format!("error returned from database: {text}"))
}

#[test]
fn prepared_statements_behind_a_pooler_are_refused_with_the_setting_that_helps() {
    for (code, text) in
        [("42P05", "prepared statement \"sqlx_s_1\" already exists"), ("26000", "does not exist")]
    {
        let error = sql_error(reported(code, text)).to_string();
        assert!(error.contains(text) && error.contains("max_prepared_statements"), "{error}");
    }
    let error = sql_error(reported("08P01", "unsupported startup parameter: extra_float_digits")).to_string();
    assert!(error.contains("ignore_startup_parameters"), "{error}");
}
