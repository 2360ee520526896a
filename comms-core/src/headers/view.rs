//! A view of encoded headers.

use std::fmt;

use super::LENGTH;
use crate::Error;

/// A view of the headers of a message, as [`Message::headers`](crate::Message::headers) returns it.
///
/// The view is `Copy`. It decodes a header when it is read, and [`encoded`](Self::encoded) hands the headers on as they
/// are. [`Headers`](super::Headers) owns headers and changes them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadersRef<'a>(&'a [u8]);

impl<'a> HeadersRef<'a> {
    /// Checks that `encoded` has the encoding of [`Headers`](super::Headers), and returns a view of it.
    ///
    /// # Errors
    /// Returns [`Internal`](crate::ErrorKind::Internal) if a length is out of bounds, or a name is not UTF-8.
    pub fn decode(encoded: &'a [u8]) -> Result<Self, Error> {
        let mut rest = encoded;
        while !rest.is_empty() {
            let header = take(rest).and_then(|(name, rest)| Some((name, take(rest)?.1)));
            let valid = header.filter(|(name, _)| std::str::from_utf8(name).is_ok());
            rest = valid.ok_or_else(|| Error::internal("the bytes are not encoded headers"))?.1;
        }
        Ok(Self(encoded))
    }

    /// Returns a view of bytes that this crate has encoded. A damaged header would end the iteration.
    pub(crate) const fn trusted(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    /// Returns the encoded headers.
    #[must_use]
    pub const fn encoded(self) -> &'a [u8] {
        self.0
    }

    /// Returns the last value of `name`, which is Kafka's rule for a repeated header.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.parts().filter(|(other, _)| *other == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// Returns the last value of `name` as text; `None` if it is absent or not UTF-8.
    #[must_use]
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Returns all headers in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.parts().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(self) -> usize {
        self.parts().count()
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the size of all names and values in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        self.0.len() - 2 * LENGTH * self.len()
    }

    fn parts(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, behind) = take(rest)?;
            let (value, behind) = take(behind)?;
            rest = behind;
            Some((name, value))
        })
    }
}

/// Returns the first part of `bytes`, which has its length in front, and the bytes behind it. `None` if there is none.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

impl fmt::Debug for HeadersRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (_, &[u8])| (name, String::from_utf8_lossy(value).into_owned());
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}
