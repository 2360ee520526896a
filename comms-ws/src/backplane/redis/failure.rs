//! The kinds of the failures of Redis.

use ::redis::{ErrorKind as Redis, RedisError, ServerErrorKind};
use comms_core::{Error, ErrorKind};

/// Returns the kind of a failed connection attempt: nothing was executed.
pub(super) fn of_connection(error: RedisError) -> Error {
    let kind = match error.kind() {
        _ if is_refused_access(&error) => ErrorKind::Misconfigured,
        Redis::InvalidClientConfig | Redis::RESP3NotSupported => ErrorKind::Misconfigured,
        _ => ErrorKind::NotExecuted,
    };
    Error::new(kind, error)
}

/// Returns the kind of a failed command.
pub(super) fn of_command(error: RedisError) -> Error {
    use ServerErrorKind as Server;
    let kind = match error.kind() {
        _ if is_refused_access(&error) => ErrorKind::Misconfigured,
        Redis::Server(Server::ReadOnly | Server::BusyLoading | Server::MasterDown | Server::NoScript) => {
            ErrorKind::NotExecuted
        }
        // The memory is used up, the disk is full, replicas are missing, or a script of another client runs.
        _ if matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY")) => {
            ErrorKind::NotExecuted
        }
        Redis::UnexpectedReturnType => ErrorKind::Internal,
        Redis::Server(Server::Moved | Server::Ask | Server::CrossSlot) => ErrorKind::Misconfigured,
        _ => ErrorKind::Indeterminate,
    };
    Error::new(kind, error)
}

/// Returns whether the next command needs another connection.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    let demoted = error.kind() == Redis::Server(ServerErrorKind::ReadOnly);
    error.is_io_error() || error.is_unrecoverable_error() || demoted
}

fn is_refused_access(error: &RedisError) -> bool {
    error.kind() == Redis::AuthenticationFailed
        || error.kind() == Redis::Server(ServerErrorKind::NoPerm)
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}
