//! Stored replies and their limits.

use bytes::Bytes;

use crate::{Error, Headers};

/// The largest size of a stored reply in bytes, headers and body together. The application stores larger data itself
/// and refers to it in the reply.
pub const REPLY_LIMIT: usize = 1_000_000;
/// The largest number of headers of a stored reply: for headers that a caller needs, such as `location` and
/// `content-type`.
pub const REPLY_HEADERS: usize = 16;

/// A reply that is stored for repetitions of its request.
///
/// ```
/// use comms_core::idempotency::StoredReply;
/// let reply = StoredReply::new(201, "{}").header("location", "/v1/orders/7");
/// assert_eq!(reply.headers.text("location"), Some("/v1/orders/7"));
/// assert!(reply.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredReply {
    /// The status code of the application's protocol, for example an HTTP status.
    pub status: i32,
    /// The headers, at most [`REPLY_HEADERS`].
    pub headers: Headers,
    /// The encoded reply.
    pub body: Bytes,
}

impl StoredReply {
    /// Makes a reply without headers.
    pub fn new(status: i32, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Headers::new(), body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Returns the size in bytes of headers and body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.headers.size() + self.body.len()
    }

    /// Checks that the reply can be stored.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the reply exceeds [`REPLY_LIMIT`] or [`REPLY_HEADERS`].
    pub fn check(&self) -> Result<(), Error> {
        self.check_within(REPLY_LIMIT)
    }

    /// Copies the reply into a buffer of its own, because its body may be a slice of a much larger buffer.
    pub(super) fn compact(&self) -> Self {
        let body = Bytes::copy_from_slice(&self.body);
        Self { status: self.status, headers: self.headers.clone(), body }
    }

    pub(super) fn check_within(&self, limit: usize) -> Result<(), Error> {
        let (size, headers) = (self.size(), self.headers.len());
        if size > limit {
            return Err(Error::invalid(format!(
                "the reply has {size} bytes, the limit is {limit}: store what is large elsewhere and answer \
                 with a reference"
            )));
        }
        if headers > REPLY_HEADERS {
            return Err(Error::invalid(format!(
                "the reply has {headers} headers, at most {REPLY_HEADERS} are kept"
            )));
        }
        Ok(())
    }
}

/// A reply, and whether it is the reply of an earlier request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// The reply.
    pub reply: StoredReply,
    /// Whether the reply was stored by an earlier request, so that this one had no effect.
    pub replayed: bool,
}
