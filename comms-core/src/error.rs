//! One error whose kind answers the first question: may this be retried?

mod kind;
mod rejection;

use std::{error::Error as StdError, fmt, time::Duration};

pub use kind::{Disposition, ErrorKind, Retry};
pub use rejection::{Guard, Rejection};

/// A boxed source error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

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

    /// The operation provably never reached a handler.
    pub fn not_executed(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::NotExecuted, source)
    }

    /// The operation may have been executed.
    pub fn indeterminate(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Indeterminate, source)
    }

    /// A guard refused the operation before its execution; `retry_after` is the wait it asks for.
    pub fn rejected(source: impl Into<BoxError>, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::new(ErrorKind::Rejected, source) }
    }

    /// This input can never succeed.
    pub fn invalid(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Invalid, source)
    }

    /// What the input refers to does not exist, or does not exist yet.
    pub fn not_found(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::NotFound, source)
    }

    /// The caller's credentials are missing, expired or refused.
    pub fn unauthenticated(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Unauthenticated, source)
    }

    /// The caller's credentials do not allow the operation.
    pub fn permission_denied(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::PermissionDenied, source)
    }

    /// The operation lost against a concurrent change.
    pub fn conflict(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Conflict, source)
    }

    /// A deployment fault that an operator repairs.
    pub fn misconfigured(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Misconfigured, source)
    }

    /// A defect met by this one message.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Internal, source)
    }

    /// This process must stop.
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

    /// The error with all its causes.
    #[must_use]
    pub fn chain(&self) -> &Self {
        self
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

/// The kind is the guard's: [`Guard::kind`].
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
