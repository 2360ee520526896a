//! Headers of messages, and the traits that read and write a context in any set of headers.

use bytes::Bytes;
use std::borrow::Cow;

use crate::Error;

/// The headers of a message, in order.
///
/// Names are compared byte by byte. As in Kafka, a name may occur more than once, and a value may be any bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, Bytes)>);

impl Headers {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a header, and keeps earlier headers of the same name.
    pub fn append(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Removes all headers of `name` and appends one with `value`.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Removes all headers of `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// Returns the last value of `name`, which is Kafka's rule for a repeated header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Returns the last value of `name` as text; `None` if it is absent or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Returns all headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v))
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the size of all names and values in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.len()).sum()
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(items: I) -> Self {
        Self(items.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// Reads values by name from a carrier: HTTP headers, gRPC metadata or message headers.
pub trait Extract {
    /// Returns the value of `name` (lower case), if the carrier has it.
    fn extract(&self, name: &str) -> Option<&[u8]>;

    /// Calls `visit` with every value of `name`, in order.
    ///
    /// The default implementation visits the value of [`extract`](Self::extract). A carrier that allows a name more
    /// than once overrides it; otherwise a repeated header that must occur once is not detected.
    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        if let Some(value) = self.extract(name) {
            visit(value);
        }
    }
}

/// Writes values by name into a carrier, replacing earlier values.
pub trait Inject {
    /// Sets `name` (lower case, static) to `value`.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the carrier does not allow the name or the bytes of the value.
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error>;
}

impl Extract for Headers {
    fn extract(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(AsRef::as_ref)
    }

    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        self.0.iter().filter(|(n, _)| n == name).for_each(|(_, value)| visit(value));
    }
}

impl Inject for Headers {
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        self.insert(name, Bytes::copy_from_slice(value));
        Ok(())
    }
}

impl Extract for http::HeaderMap {
    fn extract(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }

    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        self.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }
}

impl Inject for http::HeaderMap {
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        let value = http::HeaderValue::from_bytes(value).map_err(Error::invalid)?;
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(Error::invalid)?;
        self.insert(name, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inject_accepts_upper_case_names_and_refuses_names_with_spaces() {
        let mut headers = http::HeaderMap::new();
        headers.inject("X-Trace", b"1").unwrap();
        assert_eq!(headers.extract("x-trace"), Some(&b"1"[..]));
        assert_eq!(headers.inject("x trace", b"1").unwrap_err().kind, crate::ErrorKind::Invalid);
    }
}
