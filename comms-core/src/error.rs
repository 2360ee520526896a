//! One error whose kind answers the first question: may this be retried?

use std::{error::Error as StdError, fmt, time::Duration};

use crate::resilience::Rejection;

/// A boxed source error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// What a failure means for the caller. The only classification in the house: retry, a consumer's
/// disposition, the gRPC status and the HTTP status are functions of it.
///
/// | kind | again? | breaker | consumer | gRPC | HTTP |
/// |---|---|---|---|---|---|
/// | `Transient` | yes | failure | retry, then dead letter | UNAVAILABLE (14) | 503 |
/// | `Unknown` | under the same key only | failure | retry, then dead letter | DEADLINE_EXCEEDED (4) | 504 |
/// | `Rejected` | after `retry_after` | neutral | wait; dead letter only if it names neither guard nor wait | RESOURCE_EXHAUSTED (8) | 429 |
/// | `Invalid` | no | neutral | dead letter at once | INVALID_ARGUMENT (3) | 422 |
/// | `Conflict` | after re-reading | neutral | retry, then dead letter | ABORTED (10) | 409 |
/// | `Fatal` | no, this process must stop | neutral | stop, offset kept | INTERNAL (13) | 500 |
///
/// Where a guard of this side said no, its name says more than the kind ([`Error::grpc_code`],
/// [`Error::http_status`]):
///
/// | guard | kind | gRPC | HTTP |
/// |---|---|---|---|
/// | breaker, bulkhead | `Rejected` | UNAVAILABLE (14) | 503 |
/// | rate limit | `Rejected` | RESOURCE_EXHAUSTED (8) | 429 |
/// | deadline | `Rejected` | DEADLINE_EXCEEDED (4) | 504 |
/// | timeout | `Unknown` | DEADLINE_EXCEEDED (4) | 504 |
/// | not ready in time | `Transient` | UNAVAILABLE (14) | 503 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing happened; the same again may succeed.
    Transient,
    /// It may have happened (a commit whose answer was lost): again only under the same key.
    Unknown,
    /// A guard on this side said no. Neutral to breakers; pauses a consumer; never dead-letters.
    Rejected,
    /// It can never succeed as it stands.
    Invalid,
    /// It lost against somebody else's change.
    Conflict,
    /// This process must not go on.
    Fatal,
}

impl ErrorKind {
    /// Whether the same operation, under the same idempotency key, may be tried again.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Unknown | Self::Rejected | Self::Conflict)
    }

    /// Whether it says that the peer is not well: what a circuit breaker counts.
    #[must_use]
    pub const fn blames_peer(self) -> bool {
        matches!(self, Self::Transient | Self::Unknown)
    }

    /// The gRPC status code of this kind (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        match self {
            Self::Transient => 14,
            Self::Unknown => 4,
            Self::Rejected => 8,
            Self::Invalid => 3,
            Self::Conflict => 10,
            Self::Fatal => 13,
        }
    }

    /// The kind a gRPC status code received from a peer stands for. CANCELLED, UNKNOWN and
    /// DEADLINE_EXCEEDED leave the effect unknown; codes that name a wrong request are `Invalid`.
    #[must_use]
    pub const fn from_grpc_code(code: i32) -> Self {
        match code {
            14 => Self::Transient,
            8 => Self::Rejected,
            10 => Self::Conflict,
            3 | 5 | 6 | 7 | 9 | 11 | 12 | 16 => Self::Invalid,
            _ => Self::Unknown,
        }
    }

    /// The HTTP status of this kind.
    #[must_use]
    pub const fn http_status(self) -> http::StatusCode {
        match self {
            Self::Transient => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => http::StatusCode::GATEWAY_TIMEOUT,
            Self::Rejected => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Invalid => http::StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict => http::StatusCode::CONFLICT,
            Self::Fatal => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The value of the `error.type` attribute in metrics and of the `dlq_error_kind` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure: its kind, how long to wait if somebody said so, and the cause.
///
/// ```
/// use comms_core::{Error, ErrorKind};
/// let e = Error::invalid("price is negative").context("place order");
/// assert_eq!(e.kind, ErrorKind::Invalid);
/// assert_eq!(e.to_string(), "invalid: place order: price is negative");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// What it means for the caller.
    pub kind: ErrorKind,
    /// The least wait before another try, where the refusing side named one.
    pub retry_after: Option<Duration>,
    cause: Cause,
}

/// Not always a box: a rejection costs no allocation, because many come when things go badly.
#[derive(Debug)]
enum Cause {
    Rejection(Rejection),
    Other(BoxError),
}

impl Error {
    /// An error of `kind` caused by `source` (an error, or a text).
    pub fn new(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, retry_after: None, cause: Cause::Other(source.into()) }
    }

    /// Nothing happened; try again.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Transient, source)
    }

    /// It may have happened.
    pub fn unknown(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Unknown, source)
    }

    /// A guard on this side said no; `retry_after` is how long to wait.
    pub fn rejected(source: impl Into<BoxError>, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::new(ErrorKind::Rejected, source) }
    }

    /// It can never succeed.
    pub fn invalid(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Invalid, source)
    }

    /// It lost against another change.
    pub fn conflict(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Conflict, source)
    }

    /// This process must not go on.
    pub fn fatal(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Fatal, source)
    }

    /// The same error, with the least wait before another try.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The cause.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        match &self.cause {
            Cause::Rejection(rejection) => rejection,
            Cause::Other(other) => &**other,
        }
    }

    /// The guard on this side that said no, here or beneath a [`context`](Self::context), if one did.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        let mut cause: &(dyn StdError + 'static) = self.cause();
        loop {
            match cause.downcast_ref() {
                Some(rejection) => return Some(rejection),
                None => cause = cause.source()?,
            }
        }
    }

    /// The gRPC status code of this error: its guard's where one said no, else its kind's.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.rejection().map_or(self.kind.grpc_code(), |rejection| rejection.guard.grpc_code())
    }

    /// The HTTP status of this error: its guard's where one said no, else its kind's.
    #[must_use]
    pub fn http_status(&self) -> http::StatusCode {
        self.rejection().map_or(self.kind.http_status(), |rejection| rejection.guard.http_status())
    }

    /// The same error, saying what was being done.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        let Self { kind, retry_after, cause } = self;
        let source = match cause {
            Cause::Rejection(rejection) => rejection.into(),
            Cause::Other(other) => other,
        };
        let text = format!("{what}: {source}");
        Self { kind, retry_after, cause: Cause::Other(Box::new(Contextual { text, source })) }
    }
}

/// The kind is the guard's: [`Guard::kind`](crate::resilience::Guard::kind).
impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self {
            kind: rejection.guard.kind(),
            retry_after: rejection.retry_after,
            cause: Cause::Rejection(rejection),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.cause())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause())
    }
}

#[derive(Debug)]
struct Contextual {
    text: String,
    source: BoxError,
}

impl fmt::Display for Contextual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Contextual {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
