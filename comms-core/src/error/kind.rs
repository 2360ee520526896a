//! The classification of failures, and the table from which retry, breaker, consumer and statuses are derived.

use std::fmt;

/// The meaning of a failure for the caller.
///
/// The caller's retry, the circuit breaker, the consumer's disposition, the gRPC status and the HTTP status are
/// functions of this table. A call that a [`Guard`](super::Guard) refused has the statuses of the guard instead.
///
/// | kind | means | caller's retry | breaker | consumer | gRPC sent | HTTP sent |
/// |---|---|---|---|---|---|---|
/// | `NotExecuted` | provably never reached a handler | yes | failure | hold and retry; no attempt is counted | UNAVAILABLE (14), marked | 503 |
/// | `Indeterminate` | may have been executed | only if executing it twice is harmless | failure | retry; counts | UNKNOWN (2) | 504 |
/// | `Rejected` | refused before execution by a guard | after the wait | neutral | hold and retry after the wait; no attempt is counted | RESOURCE_EXHAUSTED (8), marked | 429 or 503 |
/// | `Invalid` | this input can never succeed | no | neutral | dead letter at once | INVALID_ARGUMENT (3) | 422 |
/// | `NotFound` | the object that the input refers to does not exist (yet) | no | neutral | retry; counts; then dead letter | NOT_FOUND (5) | 404 |
/// | `Unauthenticated` | the caller's credentials are missing or refused | no | neutral | dead letter at once | UNAUTHENTICATED (16) | 401 |
/// | `PermissionDenied` | the caller's credentials do not allow it | no | neutral | dead letter at once | PERMISSION_DENIED (7) | 403 |
/// | `Conflict` | lost against a concurrent change | if the attempt reads the changed state again | neutral | retry soon; counts | ABORTED (10) | 409 |
/// | `Misconfigured` | a deployment fault | no | failure | hold, with an alarm; no attempt is counted | INTERNAL (13), no text | 502, no text |
/// | `Internal` | a defect met by this message | no | failure | retry; counts; then dead letter | INTERNAL (13), no text | 500, no text |
/// | `Fatal` | this process must stop | no | neutral | stop | INTERNAL (13), no text | 500, no text |
///
/// "Counts" means that the attempt is counted: the message becomes a dead letter after the consumer's last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation provably never reached a handler: the connection was refused, or the server marked the refusal.
    NotExecuted,
    /// The operation may have been executed: the answer was lost, or the peer's failure does not prove the contrary.
    Indeterminate,
    /// A guard refused the operation before execution.
    Rejected,
    /// This input can never succeed.
    Invalid,
    /// The object that the input refers to does not exist, or does not exist yet.
    NotFound,
    /// The caller's credentials are missing, expired or refused.
    Unauthenticated,
    /// The caller's credentials do not allow the operation.
    PermissionDenied,
    /// The operation lost against a concurrent change.
    Conflict,
    /// A deployment fault that an operator must repair: a missing method, topic, table or codec, or refused credentials
    /// of this process.
    Misconfigured,
    /// A defect that this message triggers: a corrupt row, a panic, undecodable data of this service.
    Internal,
    /// This process must stop.
    Fatal,
}

/// When a caller may make the same call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// At any time: the call was not executed.
    Yes,
    /// Only if executing the call twice is harmless (an idempotent method, or an idempotency key).
    IfRepeatable,
    /// After the wait that the refusal requests.
    AfterWait,
    /// If the new attempt reads the changed state first.
    IfReadAnew,
    /// Never: the fault lies in the input or in this process.
    No,
}

/// What a consumer does with a delivery whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disposition {
    /// Retry without counting the attempt, because the cause is not in the message. Messages of the same key wait until
    /// the cause is gone.
    Hold,
    /// Retry with backoff, up to the maximum of attempts, then dead-letter the message.
    Retry,
    /// Dead-letter the message at once.
    DeadLetter,
    /// Stop the process and leave the message unacknowledged.
    Stop,
}

/// One row of the table of [`ErrorKind`].
struct Row {
    name: &'static str,
    retry: Retry,
    peer_failure: bool,
    consumer: Disposition,
    grpc: i32,
    http: http::StatusCode,
    /// Whether a client may read the error's text.
    public: bool,
    /// Whether the operation provably had no effect.
    no_effect: bool,
}

impl ErrorKind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::NotExecuted,
        Self::Indeterminate,
        Self::Rejected,
        Self::Invalid,
        Self::NotFound,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Conflict,
        Self::Misconfigured,
        Self::Internal,
        Self::Fatal,
    ];

    const fn row(self) -> Row {
        use Disposition as D;
        use http::StatusCode as S;
        let (name, retry, peer_failure, consumer, grpc, http, public, no_effect) = match self {
            Self::NotExecuted => {
                ("not_executed", Retry::Yes, true, D::Hold, 14, S::SERVICE_UNAVAILABLE, false, true)
            }
            Self::Indeterminate => {
                ("indeterminate", Retry::IfRepeatable, true, D::Retry, 2, S::GATEWAY_TIMEOUT, false, false)
            }
            Self::Rejected => {
                ("rejected", Retry::AfterWait, false, D::Hold, 8, S::TOO_MANY_REQUESTS, true, true)
            }
            Self::Invalid => {
                ("invalid", Retry::No, false, D::DeadLetter, 3, S::UNPROCESSABLE_ENTITY, true, true)
            }
            Self::NotFound => ("not_found", Retry::No, false, D::Retry, 5, S::NOT_FOUND, true, true),
            Self::Unauthenticated => {
                ("unauthenticated", Retry::No, false, D::DeadLetter, 16, S::UNAUTHORIZED, true, true)
            }
            Self::PermissionDenied => {
                ("permission_denied", Retry::No, false, D::DeadLetter, 7, S::FORBIDDEN, true, true)
            }
            Self::Conflict => ("conflict", Retry::IfReadAnew, false, D::Retry, 10, S::CONFLICT, true, true),
            Self::Misconfigured => {
                ("misconfigured", Retry::No, true, D::Hold, 13, S::BAD_GATEWAY, false, false)
            }
            Self::Internal => {
                ("internal", Retry::No, true, D::Retry, 13, S::INTERNAL_SERVER_ERROR, false, false)
            }
            Self::Fatal => ("fatal", Retry::No, false, D::Stop, 13, S::INTERNAL_SERVER_ERROR, false, false),
        };
        Row { name, retry, peer_failure, consumer, grpc, http, public, no_effect }
    }

    /// Returns when a caller may make the same call again.
    #[must_use]
    pub const fn retry(self) -> Retry {
        self.row().retry
    }

    /// Returns whether the same operation may be attempted again, possibly after a wait or with an idempotency key.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        !matches!(self.row().retry, Retry::No)
    }

    /// Returns whether a circuit breaker counts the error as a failure of the peer.
    #[must_use]
    pub const fn is_peer_failure(self) -> bool {
        self.row().peer_failure
    }

    /// Returns what a consumer does with a delivery whose attempt failed.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        self.row().consumer
    }

    /// Returns the gRPC status code of this kind (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        self.row().grpc
    }

    /// Returns the HTTP status of this kind (RFC 9110, section 15).
    #[must_use]
    pub const fn http_status(self) -> http::StatusCode {
        self.row().http
    }

    /// Returns whether a client may read the text of an error of this kind. The text of other kinds describes this
    /// process or its peers.
    #[must_use]
    pub const fn is_public(self) -> bool {
        self.row().public
    }

    /// Returns whether an error of this kind proves that the operation had no effect, so that its lease can be
    /// released. A missing codec (`Misconfigured`) or undecodable data (`Internal`) can occur after the effect.
    #[must_use]
    pub const fn is_without_effect(self) -> bool {
        self.row().no_effect
    }

    /// Returns the kind of a gRPC status code that was received from a peer.
    ///
    /// UNAUTHENTICATED and PERMISSION_DENIED are `Misconfigured`, because the peer refused the credentials of this
    /// process. `NotExecuted` and `Rejected` are never returned, because no status code proves them.
    #[must_use]
    pub const fn from_grpc_code(code: i32) -> Self {
        match code {
            3 | 11 => Self::Invalid,
            5 => Self::NotFound,
            6 | 9 | 10 => Self::Conflict,
            7 | 12 | 16 => Self::Misconfigured,
            _ => Self::Indeterminate,
        }
    }

    /// Returns the name: the value of the `error.type` attribute in metrics and of the `dlq_error_kind` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
