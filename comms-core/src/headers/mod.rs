//! Headers of messages, and the traits that read and write a context in any set of headers.

mod carrier;
mod view;

use std::fmt;

use crate::Error;
pub use carrier::{Extract, Inject};
pub use view::HeadersRef;

/// The bytes in front of each name and of each value: its length, big-endian.
const LENGTH: usize = size_of::<u32>();

/// The headers of a message, in order.
///
/// Names are compared byte by byte. As in Kafka, a name may occur more than once, and a value may be any bytes.
///
/// The headers are kept in their encoded form, one buffer, which a [`Message`](crate::Message) and the outbox store as
/// it is: for each header the name and the value, each preceded by its length as four bytes, big-endian. A header is
/// decoded when it is read. [`HeadersRef`] is a view of encoded headers.
///
/// ```
/// use comms_core::Headers;
/// let mut headers = Headers::new();
/// headers.append("content-type", "application/json");
/// headers.insert("content-type", "text/plain");
/// assert_eq!(headers.text("content-type"), Some("text/plain"));
/// assert_eq!(headers.len(), 1);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<u8>);

impl Headers {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Copies encoded headers, for example those of a database column.
    ///
    /// # Errors
    /// Returns [`Internal`](crate::ErrorKind::Internal) if the bytes are not encoded headers.
    pub fn decode(encoded: &[u8]) -> Result<Self, Error> {
        HeadersRef::decode(encoded).map(|headers| Self(headers.encoded().to_vec()))
    }

    /// Returns a view of the headers.
    #[must_use]
    pub fn view(&self) -> HeadersRef<'_> {
        HeadersRef::trusted(&self.0)
    }

    /// Appends a header, and keeps earlier headers of the same name.
    ///
    /// # Panics
    /// Panics if the name or the value is longer than 4 GiB.
    #[allow(clippy::expect_used, reason = "a header of 4 GiB is documented to panic")]
    pub fn append(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref());
        self.0.reserve(2 * LENGTH + name.len() + value.len());
        for part in [name, value] {
            let length = u32::try_from(part.len()).expect("a header is shorter than 4 GiB");
            self.0.extend_from_slice(&length.to_be_bytes());
            self.0.extend_from_slice(part);
        }
    }

    /// Removes all headers of `name` and appends one with `value`.
    ///
    /// # Panics
    /// Panics if the name or the value is longer than 4 GiB.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.append(name, value);
    }

    /// Removes all headers of `name`.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            *self = self.iter().filter(|(other, _)| *other != name).collect();
        }
    }

    /// Removes all headers, and keeps the memory for further ones.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the last value of `name`, which is Kafka's rule for a repeated header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.view().get(name)
    }

    /// Returns the last value of `name` as text; `None` if it is absent or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.view().text(name)
    }

    /// Returns all headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.view().iter()
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the size of all names and values in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.view().size()
    }
}

impl<'a> From<&'a Headers> for HeadersRef<'a> {
    fn from(headers: &'a Headers) -> Self {
        headers.view()
    }
}

impl From<HeadersRef<'_>> for Headers {
    fn from(headers: HeadersRef<'_>) -> Self {
        Self(headers.encoded().to_vec())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(items: I) -> Self {
        let mut headers = Self::new();
        items.into_iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

#[cfg(test)]
mod tests;
