//! Ordered byte headers, and the two traits that read and write context in any carrier.

use bytes::Bytes;
use std::borrow::Cow;

use crate::Error;

/// Headers of a message, in order, names compared byte by byte. Kafka allows a name more than once
/// and any bytes as a value; so does this. Unknown headers pass through untouched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, Bytes)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a header after those that are there, also when one of this name exists.
    pub fn append(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Replaces every header of this name by one.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Removes every header of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// The last value of this name: Kafka's rule for a repeated header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The last value of this name as text; `None` where it is absent or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v))
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values: what a size limit counts.
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

/// Reads a named value from a carrier: HTTP headers, gRPC metadata, message headers.
pub trait Extract {
    /// The value of `name` (lower case), if the carrier has it.
    fn extract(&self, name: &str) -> Option<&[u8]>;

    /// Hands every value of `name` to `visit`, in order, where the carrier has a name more than once. The
    /// default knows of one; a carrier that allows several must say so here, or ambiguity goes unseen.
    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        if let Some(value) = self.extract(name) {
            visit(value);
        }
    }
}

/// Writes a named value into a carrier, replacing what was there.
pub trait Inject {
    /// Sets `name` (lower case, static) to `value`.
    ///
    /// # Errors
    /// `Invalid` where the carrier cannot hold this name or these bytes.
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
    fn a_name_that_is_not_lower_case_is_no_panic_and_one_that_is_none_is_refused() {
        let mut headers = http::HeaderMap::new();
        headers.inject("X-Trace", b"1").unwrap();
        assert_eq!(headers.extract("x-trace"), Some(&b"1"[..]));
        assert_eq!(headers.inject("x trace", b"1").unwrap_err().kind, crate::ErrorKind::Invalid);
    }
}
