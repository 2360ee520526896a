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
    let (mut first, mut count) = (None, 0);
    carrier.extract_each(name, &mut |value| {
        first.get_or_insert(value);
        count += 1;
    });
    if count > 1 {
        return Err(Error::invalid(format!("the header {name} occurs {count} times: send it once")));
    }
    Ok(first)
}
