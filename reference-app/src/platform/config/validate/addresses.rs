//! Validates the addresses of listeners, and the URLs under which clients and services reach them.

use std::net::{IpAddr, SocketAddr};

use axum::http::Uri;
use comms_core::Error;

use crate::platform::{
    config::{Config, TlsMode, key_names::variable},
    http::is_host_and_port,
    service::{Protocol, Service},
};

impl Config {
    /// Validates `<service>.url`, which clients, logs and the channels between services use unchanged.
    ///
    /// # Errors
    /// Returns `Invalid` if the URL cannot be read, has the wrong scheme, contains a user name, a password or a query,
    /// or names a wildcard address. The error contains no part of the URL, which may hold a password.
    pub(super) fn validate_url(&self, service: &Service) -> Result<(), Error> {
        let (url, protocol) = (self.url(service.name)?, service.protocol);
        let (Some(url), Some(protocol)) = (url, protocol) else { return Ok(()) };
        let refused = |text: &str| Err(self.refusal(&[service.name, "url"], text));
        let (schemes, example): (&[&str], _) = match protocol {
            Protocol::Grpc if self.tls.mode == TlsMode::Off => {
                (&["http"], "must be a URL such as http://host:port, without a path, because tls.mode is off")
            }
            Protocol::Grpc => (
                &["https"],
                "must be a URL such as https://host:port, without a path; for http:// set tls.mode = \"off\"",
            ),
            Protocol::Http => (&["http", "https"], "must be a URL such as https://host"),
            Protocol::Sockets => (&["ws", "wss"], "must be a URL such as wss://host"),
        };
        let uri = url
            .parse::<Uri>()
            .ok()
            .filter(|uri| uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)));
        let Some((uri, authority)) = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
            return refused(example);
        };
        if authority.as_str().contains('@') {
            return refused(
                "must not contain a user name or a password, because clients and logs see the URL",
            );
        }
        let has_path = protocol == Protocol::Grpc && uri.path() != "/";
        if !is_host_and_port(authority) || uri.query().is_some() || has_path {
            return refused(example);
        }
        let address = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
        if address.is_ok_and(is_wildcard) {
            return refused("must name a host, because clients cannot connect to a wildcard address");
        }
        Ok(())
    }

    /// Checks that the listeners of this process do not share a port.
    ///
    /// # Errors
    /// Returns `Invalid` if two listeners have the same port on overlapping addresses.
    pub(super) fn validate_ports(&self) -> Result<(), Error> {
        let mut listeners = vec![("admin", self.admin.listen)];
        for service in self.running().filter(|service| service.protocol.is_some()) {
            let (name, listen) = (service.name, self.listen(service.name)?);
            if let Some((other, _)) = listeners.iter().find(|(_, other)| overlap(*other, listen)) {
                let port = listen.port();
                let text = format!("the port {port} is used by {other}.listen, too: set another port");
                return Err(self.refusal(&[name, "listen"], &text));
            }
            listeners.push((name, listen));
        }
        Ok(())
    }

    /// Checks that a listener for clients has a configured key if other machines can reach it, and a URL if it listens
    /// on all addresses.
    ///
    /// # Errors
    /// Returns `Invalid` if the key or the URL is missing.
    pub(super) fn validate_listener(&self, service: &Service) -> Result<(), Error> {
        let name = service.name;
        let Some(Protocol::Http | Protocol::Sockets) = service.protocol else { return Ok(()) };
        let listen = self.listen(name)?;
        if self.auth.public_key_file.is_none() && !listen.ip().to_canonical().is_loopback() {
            let text = "is reachable from other machines, and without auth.public_key_file any client gets a token for \
                        any user: set auth.public_key_file (COMMS_AUTH__PUBLIC_KEY_FILE), or listen on 127.0.0.1";
            return Err(self.refusal(&[name, "listen"], text));
        }
        if is_wildcard(listen.ip()) && self.url(name)?.is_none() {
            let text = format!(
                "listens on all addresses, and clients cannot connect to {}: set {name}.url ({}) to the URL that \
                 clients use",
                listen.ip(),
                variable(&[name, "url"])
            );
            return Err(self.refusal(&[name, "listen"], &text));
        }
        Ok(())
    }
}

/// Returns whether `ip` stands for all addresses of the machine.
fn is_wildcard(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

/// Returns whether the operating system refuses to bind both addresses. `[::]` also binds the IPv4 port.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| is_wildcard(a) && (a.is_ipv6() || b.is_ipv4());
    let (one, other) = (a.ip(), b.ip());
    let same = one.to_canonical() == other.to_canonical();
    a.port() == b.port() && a.port() != 0 && (same || covers(one, other) || covers(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_overlap_if_they_cannot_both_be_bound() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("0.0.0.0:1", "[::ffff:0.0.0.0]:1", true),
        ];
        for (a, b, expected) in table {
            let (one, other) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{a} {b}");
        }
    }
}
