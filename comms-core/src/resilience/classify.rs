//! What the result of an attempt means for breaker, retry and budget: one answer for all of them.

use std::time::Duration;

use super::Rejection;
use crate::{Error, ErrorKind};

/// The meaning of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It worked.
    Success,
    /// It failed.
    Failure {
        /// What the failure means; breaker and retry follow from it, see [`ErrorKind`].
        kind: ErrorKind,
        /// Pushback: the wait that the peer asked for. Honoured exactly, without jitter.
        retry_after: Option<Duration>,
    },
}

/// Reads the result of a service, and speaks its error type when a guard says no. Implement it for a
/// protocol whose failures come as responses (gRPC over HTTP, an HTTP status).
pub trait Classify<T, E>: Clone + Send + Sync + 'static {
    /// What `result` means.
    fn classify(&self, result: &Result<T, E>) -> Class;

    /// The error that stands for `rejection`.
    fn reject(&self, rejection: Rejection) -> E;
}

/// Classifies by [`Error::kind`]: for every service whose error is [`Error`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ByKind;

impl<T> Classify<T, Error> for ByKind {
    fn classify(&self, result: &Result<T, Error>) -> Class {
        match result {
            Ok(_) => Class::Success,
            // A guard further in said no: its wait is not pushback, and asking again is the outer caller's.
            Err(error) if error.rejection().is_some() => {
                Class::Failure { kind: error.kind, retry_after: None }
            }
            Err(error) => Class::Failure { kind: error.kind, retry_after: error.retry_after },
        }
    }

    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }
}
