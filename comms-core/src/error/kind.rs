//! The classification of failures, and the table of its consequences.

use std::fmt;

/// The meaning of a failure for the caller.
///
/// The kind determines whether the caller retries, whether a circuit breaker counts a failure, how a consumer treats
/// the delivery, and which gRPC and HTTP status a server sends:
///
/// | kind | means | caller's retry | breaker | consumer | gRPC | HTTP | text sent |
/// |---|---|---|---|---|---|---|---|
/// | `NotExecuted` | the operation provably never reached a handler | yes | failure | hold | UNAVAILABLE (14) | 503 | no |
/// | `Indeterminate` | the operation may have been executed | only if executing it twice is harmless | failure | retry | UNKNOWN (2) | 504 | no |
/// | `Rejected` | a guard refused the operation before execution | after `retry_after` | neutral | hold | RESOURCE_EXHAUSTED (8) | 429 | yes |
/// | `Invalid` | this input can never succeed | no | neutral | dead letter | INVALID_ARGUMENT (3) | 422 | yes |
/// | `NotFound` | the object that the input refers to does not exist, or not yet | no | neutral | retry | NOT_FOUND (5) | 404 | yes |
/// | `Unauthenticated` | the caller's credentials are missing, expired or refused | no | neutral | dead letter | UNAUTHENTICATED (16) | 401 | yes |
/// | `PermissionDenied` | the caller's credentials do not allow the operation | no | neutral | dead letter | PERMISSION_DENIED (7) | 403 | yes |
/// | `Conflict` | the operation lost against a concurrent change | if the attempt reads the changed state again | neutral | retry | ABORTED (10) | 409 | yes |
/// | `Misconfigured` | a deployment fault that an operator must repair | no | failure | hold | INTERNAL (13) | 502 | no |
/// | `Internal` | a defect that this message triggers | no | failure | retry | INTERNAL (13) | 500 | no |
/// | `Fatal` | this process must stop | no | neutral | stop | INTERNAL (13) | 500 | no |
///
/// - **Caller's retry** ([`retry`](Self::retry)): when the caller may make the same call again. `retry_after` is
///   [`Error::retry_after`](super::Error::retry_after); a [`Policy`](crate::resilience::Policy) does not retry a
///   `Rejected` without it. A policy retries an `Indeterminate` or a `Conflict` only if its
///   [`RetryConfig`](crate::resilience::RetryConfig) or the call permits this.
/// - **Breaker** ([`is_peer_failure`](Self::is_peer_failure)): *failure* counts against the peer; *neutral* counts as
///   neither a failure nor a success.
/// - **Consumer** ([`disposition`](Self::disposition)): *hold* attempts the delivery again, with growing waits of at
///   least `retry_after` (at most five minutes of it), until the cause is gone; no attempt is counted. *Retry* attempts
///   the delivery again and counts each attempt; after the last attempt the message becomes a dead letter. The wait
///   after a `Conflict` does not grow. *Dead letter* publishes the message as a dead letter at once. *Stop* ends the
///   process and leaves the message unacknowledged. A held `Misconfigured` delivery is logged at level error, and it
///   degrades [`Holds::state`](crate::transport::Holds::state) at once.
/// - **gRPC** and **HTTP** ([`grpc_code`](Self::grpc_code), [`http_status`](Self::http_status)): the status that is
///   sent. If a [`Guard`](super::Guard) refused the call, the status is that of the guard. A gRPC status alone does not
///   prove that no handler ran; the header [`comms-not-executed`](crate::wire::NOT_EXECUTED) does.
/// - **Text sent** ([`is_public`](Self::is_public)): whether [`Error::public_text`](super::Error::public_text) may
///   return a text for the response. The other kinds get a fixed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation provably never reached a handler: the connection was refused, or the response has the header
    /// [`comms-not-executed`](crate::wire::NOT_EXECUTED) with the value `not_executed`.
    NotExecuted,
    /// The operation may have been executed: the response was lost, or the failure of the peer does not prove that
    /// nothing was executed.
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
    /// After [`Error::retry_after`](super::Error::retry_after), the wait that the refusal requests.
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

    /// Returns whether an error of this kind is the result of a call, although another attempt of the call may have been
    /// executed. It then is the answer of a handler to this request.
    ///
    /// A refusal concerns its attempt alone, and so does a `Conflict`: the other attempt may be the concurrent change that it
    /// reports, for example while that attempt still holds the lease of its idempotency key.
    #[must_use]
    pub const fn is_conclusive(self) -> bool {
        matches!(self, Self::Invalid | Self::NotFound | Self::Internal | Self::Fatal)
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
