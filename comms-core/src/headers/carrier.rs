//! The traits that read and write a context in any set of headers.

use super::{Headers, HeadersRef};
use crate::Error;

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

    /// Calls `visit` with every value of each of `names` (lower case), and the index of its name. The values of one name
    /// come in their order.
    ///
    /// The default implementation looks up each name. A carrier for which one pass over all values is faster overrides
    /// it.
    fn extract_many<'a>(&'a self, names: &[&str], visit: &mut dyn FnMut(usize, &'a [u8])) {
        for (index, name) in names.iter().enumerate() {
            self.extract_each(name, &mut |value| visit(index, value));
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
        self.get(name)
    }

    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        self.iter().filter(|(other, _)| *other == name).for_each(|(_, value)| visit(value));
    }
}

impl Extract for HeadersRef<'_> {
    fn extract(&self, name: &str) -> Option<&[u8]> {
        self.get(name)
    }

    fn extract_each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        self.iter().filter(|(other, _)| *other == name).for_each(|(_, value)| visit(value));
    }
}

impl Inject for Headers {
    fn inject(&mut self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        self.insert(name, value);
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

    /// Compares the name of each header once. A look-up parses and hashes its name, which takes longer than the
    /// comparison with the few headers of a request.
    fn extract_many<'a>(&'a self, names: &[&str], visit: &mut dyn FnMut(usize, &'a [u8])) {
        for (name, value) in self {
            if let Some(index) = names.iter().position(|wanted| *wanted == name.as_str()) {
                visit(index, value.as_bytes());
            }
        }
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
