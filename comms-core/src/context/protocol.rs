//! The protocols of requests, and their header values.

use crate::{Error, Extract, wire};

/// The protocol of a request, which determines the header of the deadline. All other headers are the same in every
/// protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP, with the deadline in the header `request-timeout`.
    Http,
    /// gRPC, with the deadline in the metadata `grpc-timeout`.
    Grpc,
}

impl Protocol {
    pub(super) const fn timeout_header(self) -> &'static str {
        match self {
            Self::Http => wire::REQUEST_TIMEOUT,
            Self::Grpc => wire::GRPC_TIMEOUT,
        }
    }
}

/// Returns the only value of the header `name`, or `None` without a value.
///
/// # Errors
/// Returns `Invalid` if the header occurs more than once, because the intended value is unknown.
pub(super) fn single_value<'a>(carrier: &'a impl Extract, name: &str) -> Result<Option<&'a [u8]>, Error> {
    let mut values = Values::default();
    carrier.extract_each(name, &mut |value| values.add(value));
    values.single(name)
}

/// The values of one header: the first, and their number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    first: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Values<'a> {
    pub(super) fn add(&mut self, value: &'a [u8]) {
        self.first.get_or_insert(value);
        self.count += 1;
    }

    /// Returns the only value, or `None` without a value. `name` is that of the header, for the error.
    ///
    /// # Errors
    /// Returns `Invalid` if there are several values.
    pub(super) fn single(self, name: &str) -> Result<Option<&'a [u8]>, Error> {
        match self.count {
            0 | 1 => Ok(self.first),
            count => Err(Error::invalid(format!("the header {name} occurs {count} times: send it once"))),
        }
    }

    /// Returns the only value, or `None` without a value or with several.
    pub(super) fn only(self) -> Option<&'a [u8]> {
        self.first.filter(|_| self.count == 1)
    }
}
