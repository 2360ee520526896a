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
    /// Reads `scheme://host:port`, where `scheme` is `https` with TLS and `http` without. No error repeats the URI,
    /// because it holds a password if an operator confused it with the URL of another system.
    pub(super) fn parse(uri: &str, scheme: &str) -> Result<Self, Error> {
        let uri: Option<Uri> = uri.parse().ok().filter(is_address);
        if uri.as_ref().is_some_and(|uri| uri.scheme_str() != Some(scheme)) {
            return Err(Error::invalid(match scheme {
                "https" => "the URI of a gRPC channel with TLS must be https://host:port",
                _ => "a gRPC channel to https://host:port needs TLS: set ChannelBuilder::tls (feature `tls`)",
            }));
        }
        let parts = uri.as_ref().and_then(|uri| Some((uri.scheme()?, uri.authority()?)));
        let Some((uri, (scheme, authority))) = uri.as_ref().zip(parts) else {
            let text = "the URI of a gRPC channel must be http://host:port or https://host:port, without a path and without a user name";
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
        let default = if self.origin.scheme == uri::Scheme::HTTPS { 443 } else { 80 };
        (host.to_owned(), self.authority().port_u16().unwrap_or(default))
    }
}

/// Returns the URI for a log, or `***` if it is not valid.
pub(super) fn shown(uri: &str) -> String {
    let uri: Option<Uri> = uri.parse().ok().filter(is_address);
    uri.map_or_else(|| "***".to_owned(), |uri| uri.to_string())
}

/// Returns whether `uri` is `http://host:port` or `https://host:port` without further parts.
fn is_address(uri: &Uri) -> bool {
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    bare && host && matches!(uri.scheme_str(), Some("http" | "https"))
}
