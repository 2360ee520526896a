//! The addresses of listeners, and the URLs under which they are reached.

use std::net::{IpAddr, SocketAddr};

use axum::http::Uri;
use comms_core::Error;

use super::{Config, names::variable};
use crate::platform::{
    http::is_host_and_port,
    service::{Protocol, Service},
};

impl Config {
    /// Checks `<service>.url`: clients, logs and the channels between services take it as it is.
    ///
    /// # Errors
    /// Returns `Invalid`, without any part of the URL: it may hold a password.
    pub(super) fn validate_url(&self, service: &Service) -> Result<(), Error> {
        let (url, protocol) = (self.url(service.name)?, service.protocol);
        let (Some(url), Some(protocol)) = (url, protocol) else { return Ok(()) };
        let refused = |text: &str| Err(self.refusal(&[service.name, "url"], text));
        let (schemes, example): (&[&str], _) = match protocol {
            Protocol::Grpc => (&["http"], "must be a URL such as http://host:port, without a path"),
            Protocol::Http => (&["http", "https"], "must be a URL such as https://host"),
            Protocol::Sockets => (&["ws", "wss"], "must be a URL such as wss://host"),
        };
        let uri =
            url.parse::<Uri>().ok().filter(|uri| uri.scheme_str().is_some_and(|it| schemes.contains(&it)));
        let Some((uri, authority)) = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
            return refused(example);
        };
        if authority.as_str().contains('@') {
            return refused("must not hold a user name or a password: clients and logs see the URL");
        }
        let has_path = protocol == Protocol::Grpc && uri.path() != "/";
        if !is_host_and_port(authority) || uri.query().is_some() || has_path {
            return refused(example);
        }
        let address = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
        if address.is_ok_and(is_wildcard) {
            return refused("must name a host: nothing can connect to a wildcard address");
        }
        Ok(())
    }

    /// # Errors
    /// Returns `Invalid` if two listeners of this process have one port.
    pub(super) fn validate_ports(&self) -> Result<(), Error> {
        let mut listeners = vec![("admin", self.admin.listen)];
        for service in self.running().filter(|service| service.protocol.is_some()) {
            let (name, listen) = (service.name, self.listen(service.name)?);
            if let Some((other, _)) = listeners.iter().find(|(_, other)| overlap(*other, listen)) {
                let port = listen.port();
                let text = format!(
                    "the port {port} is taken by {other}.listen: give each listener a port of its own"
                );
                return Err(self.refusal(&[name, "listen"], &text));
            }
            listeners.push((name, listen));
        }
        Ok(())
    }

    /// A listener for clients that can be reached from elsewhere needs a configured key, and a URL that clients can use.
    pub(super) fn validate_listener(&self, service: &Service) -> Result<(), Error> {
        let name = service.name;
        let Some(Protocol::Http | Protocol::Sockets) = service.protocol else { return Ok(()) };
        let listen = self.listen(name)?;
        if self.auth.public_key_file.is_none() && !listen.ip().to_canonical().is_loopback() {
            let text = "can be reached from elsewhere, and without auth.public_key_file anybody gets a token for any user: \
                        configure the key, or listen on 127.0.0.1";
            return Err(self.refusal(&[name, "listen"], text));
        }
        if is_wildcard(listen.ip()) && self.url(name)?.is_none() {
            let text = format!(
                "listens on all addresses, and clients cannot connect to {}: set {name}.url ({}) to the URL under which they \
                 reach it",
                listen.ip(),
                variable(&[name, "url"])
            );
            return Err(self.refusal(&[name, "listen"], &text));
        }
        Ok(())
    }
}

/// Whether `ip` stands for all addresses of the machine.
fn is_wildcard(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

/// Whether the operating system refuses to bind both: `[::]` takes the port of IPv4 as well.
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
    fn one_port_on_overlapping_addresses_is_taken() {
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
