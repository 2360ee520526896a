//! SQLSTATEs of PostgreSQL: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use comms_core::ErrorKind::{self, Conflict, Indeterminate, Internal, Invalid, Misconfigured, NotExecuted};

/// Returns the kind of `code`. The `message` decides if one code has several causes.
pub(super) fn kind(code: &str, message: &str) -> ErrorKind {
    match code {
        // A prepared statement behind a pooler, or a startup parameter that the pooler refuses.
        "42P05" | "26000" => Misconfigured,
        "08P01" if is_startup_parameter(message) => Misconfigured,
        // A new plan or the end of the recovery fixes it. Both texts are English only if `lc_messages` is. Otherwise
        // the kind is `Misconfigured`, which holds the delivery as well.
        "0A000" if message.contains("cached plan") || message.contains("recovery") => NotExecuted,
        "40003" => Indeterminate,
        // A standby: fixed by its promotion, or by a connection to the primary.
        "25006" => NotExecuted,
        // Time limits of statement, transaction and session: the message itself may be the cause.
        "57014" | "25P03" | "25P04" | "57P05" => Indeterminate,
        "57P04" => Misconfigured,
        "55006" | "55P03" => NotExecuted,
        "42501" | "42P01" | "42703" | "42704" | "42883" => Misconfigured,
        "P0001" => Invalid,
        _ => class(code.get(..2).unwrap_or_default()),
    }
}

fn class(class: &str) -> ErrorKind {
    match class {
        "08" | "53" | "57" | "58" => NotExecuted,
        "40" | "72" => Conflict,
        "22" | "23" | "44" | "54" => Invalid,
        "0A" | "28" | "3D" | "3F" | "55" | "F0" => Misconfigured,
        "0B" | "21" | "24" | "25" | "2D" | "2F" | "34" | "38" | "39" | "3B" | "42" | "P0" | "XX" => Internal,
        _ => Indeterminate,
    }
}

/// Returns whether a COMMIT that fails with `code` may have been executed.
pub(super) fn is_lost(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code == "40003"
}

/// Returns how to fix a failure behind a pooler in transaction mode.
pub(super) fn advice(code: &str, message: &str) -> Option<&'static str> {
    match code {
        "42P05" | "26000" => Some(
            "a pooler in transaction mode hands a prepared statement to another server connection: set \
             max_prepared_statements (PgBouncer from 1.21 on), or send statements without names (Tables::unprepared, \
             and persistent(false) on the application's own queries)",
        ),
        "08P01" if is_startup_parameter(message) => {
            Some("set ignore_startup_parameters = extra_float_digits in the configuration of PgBouncer")
        }
        _ => None,
    }
}

fn is_startup_parameter(message: &str) -> bool {
    message.contains("startup parameter")
}
