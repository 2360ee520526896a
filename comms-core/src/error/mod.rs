//! The error of every fallible operation: its kind, its wait, and its cause.

mod chain;
mod kind;
mod rejection;
#[cfg(test)]
mod tests;

use std::{error::Error as StdError, fmt, sync::OnceLock, time::Duration};

use chain::{Chain, Link, text};
pub use kind::{Disposition, ErrorKind, Retry};
pub use rejection::{Guard, Rejection};

/// A boxed source error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A failure: its kind, the wait that was asked for, and the cause.
///
/// `Display` prints the kind and the outermost text; [`source`](StdError::source) has the rest, so that a chain which
/// anyhow or tracing prints repeats nothing. Logs take [`chain`](Self::chain), which prints all of it in one line.
///
/// ```
/// use comms_core::{Error, ErrorKind};
/// let plain = Error::invalid("price is negative");
/// assert_eq!(plain.to_string(), "invalid: price is negative");
/// let error = plain.context("place order");
/// assert_eq!(error.kind, ErrorKind::Invalid);
/// assert_eq!(error.to_string(), "invalid: place order");
/// assert_eq!(error.chain().to_string(), "invalid: place order: price is negative");
/// assert_eq!(error.public_text().as_deref(), Some("price is negative"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// What the failure means for the caller.
    pub kind: ErrorKind,
    /// The least wait before another attempt, if the refusing side named one. [`Duration::MAX`]: it asks for no other
    /// attempt.
    pub retry_after: Option<Duration>,
    cause: Cause,
    /// What was being done, innermost first.
    contexts: Vec<String>,
    /// The causes as they are printed, made when they are first asked for: most errors are only counted.
    printed: OnceLock<Option<Box<Link>>>,
}

/// Not always a box: a rejection costs no allocation, because many come while a peer is away.
#[derive(Debug)]
enum Cause {
    Rejection(Rejection),
    Other(BoxError),
}

impl Error {
    /// An error of `kind` caused by `source`: an error, or a text.
    ///
    /// A text of a public kind ([`ErrorKind::is_public`]) may be sent to a client, see [`public_text`](Self::public_text):
    /// pass a foreign error as it is, and never as `error.to_string()`.
    pub fn new(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self::made(kind, None, Cause::Other(source.into()))
    }

    const fn made(kind: ErrorKind, retry_after: Option<Duration>, cause: Cause) -> Self {
        Self { kind, retry_after, cause, contexts: Vec::new(), printed: OnceLock::new() }
    }

    /// The operation provably never reached a handler.
    pub fn not_executed(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::NotExecuted, source)
    }

    /// The operation may have been executed.
    pub fn indeterminate(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Indeterminate, source)
    }

    /// A guard refused the operation before its execution; `retry_after` is the wait that it asks for.
    pub fn rejected(source: impl Into<BoxError>, retry_after: Option<Duration>) -> Self {
        Self::made(ErrorKind::Rejected, retry_after, Cause::Other(source.into()))
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

    /// The same error with the least wait before another attempt.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The error or text that this error was made from, beneath every [`context`](Self::context). Downcast this one:
    /// the links of [`source`](StdError::source) are texts.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        match &self.cause {
            Cause::Rejection(rejection) => rejection,
            Cause::Other(other) => &**other,
        }
    }

    /// The error and its causes in one line, for logs: `invalid: place order: price is negative`.
    #[must_use]
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }

    /// The text that a client may read: the cause, where the kind is public ([`ErrorKind::is_public`]) and the error was
    /// made from a text or by a guard. `None` for every other error: the text of a database, a peer or a library was not
    /// written for a client.
    #[must_use]
    pub fn public_text(&self) -> Option<String> {
        let own = match &self.cause {
            Cause::Rejection(_) => true,
            Cause::Other(other) => is_text(&**other),
        };
        (own && self.kind.is_public()).then(|| text(self.cause()))
    }

    /// The guard that refused the call, if one did; also where this error was made from an error with a rejection.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        let mut cause: &(dyn StdError + 'static) = self.cause();
        loop {
            if let Some(rejection) = cause.downcast_ref() {
                return Some(rejection);
            }
            if let Some(nested) = cause.downcast_ref::<Self>() {
                return nested.rejection();
            }
            cause = cause.source()?;
        }
    }

    /// The gRPC status code of this error: that of the guard which refused the call, else that of the kind.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.rejection().map_or(self.kind.grpc_code(), |rejection| rejection.guard.grpc_code())
    }

    /// The HTTP status of this error: that of the guard which refused the call, else that of the kind.
    #[must_use]
    pub fn http_status(&self) -> http::StatusCode {
        self.rejection().map_or(self.kind.http_status(), |rejection| rejection.guard.http_status())
    }

    /// The same error under a text that names what was being done.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.contexts.push(what.to_string());
        self.printed = OnceLock::new();
        self
    }
}

/// Whether `cause` is a text in the clothes of an error, as `Box<dyn Error>::from` makes of a string. Its `Debug` form
/// is the quoted text; an error type prints something else.
fn is_text(cause: &(dyn StdError + 'static)) -> bool {
    format!("{cause:?}") == format!("{:?}", text(cause))
}

/// The kind is the guard's: [`Guard::kind`].
impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::made(rejection.guard.kind(), rejection.retry_after, Cause::Rejection(rejection))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.contexts.last() {
            Some(context) => write!(f, "{}: {context}", self.kind),
            None => write!(f, "{}: {}", self.kind, text(self.cause())),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let printed = self.printed.get_or_init(|| {
            let cause: &(dyn StdError + 'static) = self.cause();
            match self.contexts.split_last() {
                Some((outermost, inner)) => {
                    Link::chain(outermost, inner.iter().rev().map(String::as_str), Some(cause))
                }
                None => Link::chain(&text(cause), std::iter::empty(), cause.source()),
            }
        });
        printed.as_deref().map(|link| link as &(dyn StdError + 'static))
    }
}
