//! What is kept of an answer.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{Error, Headers};

/// The most bytes of a reply, headers and body together: what is larger belongs into a table of the
/// application's, with its name in the reply.
pub const REPLY_LIMIT: usize = 1_000_000;
/// The most headers of a reply: those the caller cannot do without (`location`, `content-type`), not all.
pub const REPLY_HEADERS: usize = 16;

/// A reply kept for the next time the same request comes.
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
    /// Protocol status, in the application's own numbers.
    pub status: i32,
    /// A few headers, at most [`REPLY_HEADERS`].
    pub headers: Headers,
    /// The encoded reply.
    pub body: Bytes,
}

impl StoredReply {
    /// A reply without headers.
    pub fn new(status: i32, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Headers::new(), body: body.into() }
    }

    /// The same reply with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Bytes of headers and body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.headers.size() + self.body.len()
    }

    /// Whether it may be stored.
    ///
    /// # Errors
    /// `Invalid` where it is over [`REPLY_LIMIT`] or [`REPLY_HEADERS`].
    pub fn check(&self) -> Result<(), Error> {
        self.check_within(REPLY_LIMIT)
    }

    /// A copy with buffers of its own: what is kept may be a window into something much larger.
    pub(super) fn compact(&self) -> Self {
        let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let headers = self.headers.iter().map(|(name, value)| (name.to_owned(), own(value))).collect();
        Self { status: self.status, headers, body: own(&self.body) }
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

/// A reply, and whether an earlier request made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// What to answer.
    pub reply: StoredReply,
    /// The effect had been there before; nothing was done again.
    pub replayed: bool,
}
