//! The error type of all crates: a kind, a wait before the next attempt, and a cause.

mod chain;
mod field;
mod kind;
mod rejection;
#[cfg(test)]
mod tests;

use std::{error::Error as StdError, fmt, sync::OnceLock, time::Duration};

use chain::{Chain, Link, text};
pub use field::{FieldError, FieldErrors};
pub use kind::{Disposition, ErrorKind, Retry};
pub use rejection::{Guard, Rejection};

/// A boxed source error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A failure: its kind, the wait before the next attempt, and the cause.
///
/// All crates of the workspace return this error, and code decides by [`kind`](Self::kind). The table of [`ErrorKind`]
/// lists the consequences of each kind. Create an error with the constructor of its kind, such as [`Error::invalid`].
///
/// `Display` prints the kind and the outermost text. [`source`](StdError::source) returns the other texts, so that
/// anyhow and tracing print each text once. [`chain`](Self::chain) prints all of them in one line, for logs.
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
    /// The meaning of the failure for the caller.
    pub kind: ErrorKind,
    /// The minimum wait before another attempt, if the refusing side requested one. [`Duration::MAX`] requests that no
    /// attempt follows.
    pub retry_after: Option<Duration>,
    cause: Cause,
    /// Descriptions of the operations that failed, innermost first.
    contexts: Vec<String>,
    /// The chain that `source` returns. Created at its first use, because most errors are never printed.
    printed: OnceLock<Option<Box<Link>>>,
}

/// A rejection is stored without a box: during an outage there are many, and they allocate nothing.
#[derive(Debug)]
enum Cause {
    Rejection(Rejection),
    Other(BoxError),
}

impl Error {
    /// Creates an error of `kind` caused by `source`, an error or a text.
    ///
    /// A text of a public kind ([`ErrorKind::is_public`]) may be sent to a client, see
    /// [`public_text`](Self::public_text). So pass an error of a library as a value, never as `error.to_string()`,
    /// which a client could read.
    pub fn new(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self::from_cause(kind, None, Cause::Other(source.into()))
    }

    const fn from_cause(kind: ErrorKind, retry_after: Option<Duration>, cause: Cause) -> Self {
        Self { kind, retry_after, cause, contexts: Vec::new(), printed: OnceLock::new() }
    }

    /// Creates a [`NotExecuted`](ErrorKind::NotExecuted) error: the operation provably never reached a handler.
    pub fn not_executed(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::NotExecuted, source)
    }

    /// Creates an [`Indeterminate`](ErrorKind::Indeterminate) error: the operation may have been executed.
    pub fn indeterminate(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Indeterminate, source)
    }

    /// Creates a [`Rejected`](ErrorKind::Rejected) error: a guard refused the operation before execution. `retry_after`
    /// is the wait that the guard requests.
    pub fn rejected(source: impl Into<BoxError>, retry_after: Option<Duration>) -> Self {
        Self::from_cause(ErrorKind::Rejected, retry_after, Cause::Other(source.into()))
    }

    /// Creates an [`Invalid`](ErrorKind::Invalid) error: this input can never succeed.
    pub fn invalid(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Invalid, source)
    }

    /// Creates a [`NotFound`](ErrorKind::NotFound) error: the object that the input refers to does not exist (yet).
    pub fn not_found(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::NotFound, source)
    }

    /// Creates an [`Unauthenticated`](ErrorKind::Unauthenticated) error: the caller's credentials are missing, expired
    /// or refused.
    pub fn unauthenticated(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Unauthenticated, source)
    }

    /// Creates a [`PermissionDenied`](ErrorKind::PermissionDenied) error: the caller's credentials do not allow the
    /// operation.
    pub fn permission_denied(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::PermissionDenied, source)
    }

    /// Creates a [`Conflict`](ErrorKind::Conflict) error: the operation lost against a concurrent change.
    pub fn conflict(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Conflict, source)
    }

    /// Creates a [`Misconfigured`](ErrorKind::Misconfigured) error: a deployment fault that an operator must repair.
    pub fn misconfigured(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Misconfigured, source)
    }

    /// Creates an [`Internal`](ErrorKind::Internal) error: a defect that this message triggers.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Internal, source)
    }

    /// Creates a [`Fatal`](ErrorKind::Fatal) error: this process must stop.
    pub fn fatal(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Fatal, source)
    }

    /// Sets the minimum wait before another attempt.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Returns the error or text that this error was created from, below every [`context`](Self::context).
    ///
    /// Downcast the returned error, and not the errors of [`source`](StdError::source), which are only texts.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        match &self.cause {
            Cause::Rejection(rejection) => rejection,
            Cause::Other(other) => &**other,
        }
    }

    /// Displays the error and its causes in one line, for logs: `invalid: place order: price is negative`.
    #[must_use]
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }

    /// Returns the text that a client may read: the text of the cause, if the kind is public ([`ErrorKind::is_public`])
    /// and the error was created from a text, from [`FieldErrors`](crate::command::FieldErrors) or by a guard.
    ///
    /// Returns `None` for every other error: the text of a database, a peer or a library is not meant for clients.
    #[must_use]
    pub fn public_text(&self) -> Option<String> {
        let for_clients = match &self.cause {
            Cause::Rejection(_) => true,
            Cause::Other(other) => other.is::<FieldErrors>() || is_text(&**other),
        };
        (for_clients && self.kind.is_public()).then(|| text(self.cause()))
    }

    /// Returns the rejection if a guard refused the call: the cause of this error, or one of the cause's sources.
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

    /// Returns the gRPC status code: that of the guard if one refused the call, else that of the kind.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        self.rejection().map_or(self.kind.grpc_code(), |rejection| rejection.guard.grpc_code())
    }

    /// Returns the HTTP status: that of the guard if one refused the call, else that of the kind.
    #[must_use]
    pub fn http_status(&self) -> http::StatusCode {
        self.rejection().map_or(self.kind.http_status(), |rejection| rejection.guard.http_status())
    }

    /// Adds a text that names the failed operation. It is printed before the texts of the cause.
    #[must_use]
    pub fn context(mut self, operation: impl fmt::Display) -> Self {
        self.contexts.push(operation.to_string());
        self.printed = OnceLock::new();
        self
    }
}

/// Returns whether `cause` is a string that `Box<dyn Error>::from` converted. The `Debug` form of such an error is the
/// quoted text; that of an error type is different.
fn is_text(cause: &(dyn StdError + 'static)) -> bool {
    format!("{cause:?}") == format!("{:?}", text(cause))
}

/// Converts a rejection; the kind of the error is [`Guard::kind`].
impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::from_cause(rejection.guard.kind(), rejection.retry_after, Cause::Rejection(rejection))
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
