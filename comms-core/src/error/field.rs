//! The errors of the fields of an input.

use std::{error::Error as StdError, fmt};

use super::Error;

/// An error of one field of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The JSON pointer (RFC 6901) of the field, such as `/lines/0/cents`; empty for the whole input.
    pub pointer: String,
    /// The description of the error, for a person.
    pub detail: String,
}

/// The errors of the fields of an input. The cause of an [`Invalid`](crate::ErrorKind::Invalid) error, which a server
/// returns to its client.
///
/// ```
/// use comms_core::{ErrorKind, command::FieldErrors};
/// let (cents, account) = (3, "");
/// let mut errors = FieldErrors::default();
/// errors.require(cents > 0, "/cents", "must be above 0");
/// errors.require(!account.is_empty(), "/account", "must not be empty");
/// let error = errors.into_result().unwrap_err();
/// assert_eq!(error.kind, ErrorKind::Invalid);
/// assert_eq!(error.public_text().as_deref(), Some("/account must not be empty"));
/// assert_eq!(FieldErrors::of(&error).unwrap().iter().next().unwrap().pointer, "/account");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds an error of the field at `pointer`.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError { pointer: pointer.into(), detail: detail.into() });
    }

    /// Adds an error of the field at `pointer` unless `holds`.
    pub fn require(&mut self, holds: bool, pointer: impl Into<String>, detail: impl Into<String>) {
        if !holds {
            self.add(pointer, detail);
        }
    }

    /// Returns the errors in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }

    /// Returns the errors of the fields that `error` was created from, if there are any.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.cause().downcast_ref()
    }

    /// Converts the errors into a result, which is `Ok` if there are none.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if there is an error, with all of them as its cause.
    pub fn into_result(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self)) }
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, FieldError { pointer, detail }) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            f.write_str(pointer)?;
            f.write_str(if pointer.is_empty() { "" } else { " " })?;
            f.write_str(detail)?;
        }
        Ok(())
    }
}

impl StdError for FieldErrors {}
