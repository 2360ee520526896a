//! The URIs of a channel.

use comms_core::Error;
use http::{Uri, uri};

use crate::client::request::Origin;

/// A URI that a channel can connect to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) origin: Origin,
}

impl Target {
    /// Reads `http://host:port`. No error repeats the URI, because it holds a password if an operator confused it with
    /// the URL of another system.
    pub(super) fn parse(uri: &str) -> Result<Self, Error> {
        let uri: Option<Uri> = uri.parse().ok().filter(is_address);
        let parts = uri.as_ref().and_then(|uri| Some((uri.scheme()?, uri.authority()?)));
        let Some((uri, (scheme, authority))) = uri.as_ref().zip(parts) else {
            let text =
                "the URI of a gRPC channel must be http://host:port, without a path and without a user name";
            return Err(Error::invalid(text));
        };
        let origin = Origin { scheme: scheme.clone(), authority: authority.clone() };
        Ok(Self { uri: uri.clone(), origin })
    }

    pub(super) const fn authority(&self) -> &uri::Authority {
        &self.origin.authority
    }

    /// Returns the host, without the brackets of an IPv6 address, and the port.
    pub(super) fn host_and_port(&self) -> (String, u16) {
        let host = self.authority().host().trim_start_matches('[').trim_end_matches(']');
        (host.to_owned(), self.authority().port_u16().unwrap_or(80))
    }
}

/// Returns the URI for a log, or `***` if it is not valid.
pub(super) fn shown(uri: &str) -> String {
    Target::parse(uri).map_or_else(|_| "***".to_owned(), |target| target.uri.to_string())
}

/// Returns whether `uri` is `http://host:port` without further parts.
fn is_address(uri: &Uri) -> bool {
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && host && uri.scheme_str() == Some("http")
}
