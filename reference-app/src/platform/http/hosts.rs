//! The hosts that a request may name: protection from DNS rebinding and from cross-site requests.
//!
//! A page of another site can make a browser send requests to this machine. It can also make its own host name
//! resolve to this machine (DNS rebinding), so that the browser treats the responses as same-origin. Listening on a
//! loopback address, or checking the peer's address, prevents neither. Such a request carries the foreign name in
//! `Host`, and the foreign page in `Origin`.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use comms_core::Error;

/// The hosts under which a browser may address this process: `localhost`, every literal loopback address, and the
/// host of the public URL. Ports are not compared, because a proxy may change them.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    public: Option<Authority>,
}

impl Hosts {
    /// Accepts loopback hosts and the host of `public_url`.
    ///
    /// # Errors
    /// Returns `Invalid` if `public_url` is not an absolute `http` or `https` URL.
    pub fn new(public_url: Option<&str>) -> Result<Self, Error> {
        let parse = |url: &str| {
            let uri =
                Uri::try_from(url).ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            let authority = uri.and_then(|uri| uri.authority().cloned());
            authority.ok_or_else(|| Error::invalid("the value must be a URL such as https://shop.example"))
        };
        Ok(Self { public: public_url.map(parse).transpose()? })
    }

    /// Checks that the request names an accepted host, in `Host` and in the authority of `uri`.
    ///
    /// # Errors
    /// Returns `PermissionDenied`, with a text for the client, if the host is missing, repeated or not accepted.
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        self.host(uri, headers).map(drop)
    }

    /// Checks the host, and that no page of another site sent the request: `Origin`, if present, must be the host to
    /// which the request was sent, and `Sec-Fetch-Site` must not be `cross-site`.
    ///
    /// # Errors
    /// Returns `PermissionDenied`, with a text for the client, if one of these checks fails.
    pub fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let host = self.host(uri, headers)?;
        let foreign = headers
            .get_all(header::ORIGIN)
            .iter()
            .any(|origin| !origin.to_str().ok().is_some_and(|origin| is_origin_of(origin, &host)));
        let cross_site = headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site");
        if foreign || cross_site {
            return Err(Error::permission_denied("Pages of another site may not send this request."));
        }
        Ok(())
    }

    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Error> {
        let mut named =
            headers.get_all(header::HOST).iter().map(|host| Authority::try_from(host.as_bytes()).ok());
        let host = match (uri.authority().cloned(), named.next(), named.next()) {
            (None, Some(host), None) => host,
            (Some(authority), None, _) => Some(authority),
            (Some(authority), Some(host), None) => host.filter(|host| *host == authority),
            _ => None,
        };
        host.filter(|host| self.contains(host)).ok_or_else(|| {
            Error::permission_denied(
                "Send this request to localhost, to a loopback address, or to the public host of this service.",
            )
        })
    }

    fn contains(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let public = self.public.as_ref().is_some_and(|public| public.host().eq_ignore_ascii_case(name));
        let own = name.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
            || public;
        own && !host.as_str().contains('@')
    }
}

/// Returns whether `origin` is the origin of a page that `host` served: the same name and port, under HTTP or HTTPS.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(page) = Authority::try_from(rest) else { return false };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    page.host().eq_ignore_ascii_case(host.host()) && port(&page) == port(host) && !rest.contains('@')
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use comms_core::ErrorKind;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        all.iter().map(pair).fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    #[test]
    fn only_loopback_and_the_public_host_are_accepted() {
        let hosts = Hosts::new(Some("https://shop.example/")).unwrap();
        let path = Uri::from_static("/dev/token");
        let own = [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.3.2.1",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:1",
            "shop.example",
            "Shop.Example:8443",
        ];
        for host in own {
            assert!(hosts.check_host(&path, &headers(&[("host", host)])).is_ok(), "{host}");
        }
        let foreign = [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "",
            "192.168.0.1",
            "[::2]:80",
            "0.0.0.0:8080",
            "x@localhost",
            "localhost@evil.example",
            "2130706433",
            "not shop",
            "shop.example.evil.example",
        ];
        for host in foreign {
            let error = hosts.check_host(&path, &headers(&[("host", host)])).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PermissionDenied, "{host}");
            assert!(error.public_text().is_some(), "{host}");
        }
        assert!(hosts.check_host(&path, &headers(&[])).is_err(), "none");
        assert!(
            hosts.check_host(&path, &headers(&[("host", "localhost"), ("host", "localhost")])).is_err(),
            "two"
        );
        let shop = headers(&[("host", "shop.example")]);
        assert!(Hosts::default().check_host(&path, &shop).is_err(), "without a public URL");

        // HTTP/2, and the absolute form of HTTP/1.
        let absolute = |host: &str| Uri::try_from(format!("http://{host}/dev/token")).unwrap();
        assert!(hosts.check_host(&absolute("localhost:8080"), &headers(&[])).is_ok());
        assert!(hosts.check_host(&absolute("evil.example"), &headers(&[])).is_err());
        assert!(hosts.check_host(&absolute("evil.example"), &headers(&[("host", "localhost")])).is_err());
        assert!(hosts.check_host(&absolute("localhost"), &headers(&[("host", "evil.example")])).is_err());

        for url in ["shop.example", "/", "wss://shop.example", ""] {
            assert_eq!(Hosts::new(Some(url)).unwrap_err().kind, ErrorKind::Invalid, "{url}");
        }
    }

    #[test]
    fn a_request_from_a_page_of_another_site_is_refused() {
        let hosts = Hosts::new(Some("https://shop.example")).unwrap();
        let path = Uri::from_static("/dev/token");
        let table = [
            ("localhost:8080", &[][..], true),
            ("localhost:8080", &[("origin", "http://localhost:8080")], true),
            ("[::1]:8080", &[("origin", "http://[::1]:8080")], true),
            ("localhost", &[("origin", "http://localhost")], true),
            ("localhost:80", &[("origin", "http://localhost")], true),
            ("shop.example", &[("origin", "https://shop.example")], true),
            (
                "localhost:8080",
                &[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")],
                true,
            ),
            ("localhost:8080", &[("sec-fetch-site", "none")], true),
            ("localhost:8080", &[("sec-fetch-site", "cross-site")], false),
            ("localhost:8080", &[("origin", "http://localhost:3000")], false),
            ("localhost:8080", &[("origin", "http://127.0.0.1:8080")], false),
            ("localhost:8080", &[("origin", "http://evil.example")], false),
            ("localhost:8080", &[("origin", "http://localhost:8080@evil.example")], false),
            ("localhost:8080", &[("origin", "http://localhost:8080.evil.example")], false),
            ("localhost:8080", &[("origin", "null")], false),
            ("localhost:8080", &[("origin", "file://")], false),
            ("localhost:8080", &[("origin", "ftp://localhost:8080")], false),
            (
                "localhost:8080",
                &[("origin", "http://localhost:8080"), ("origin", "http://evil.example")],
                false,
            ),
            ("evil.example", &[("origin", "http://evil.example")], false),
        ];
        for (host, more, allowed) in table {
            let all = [&[("host", host)], more].concat();
            assert_eq!(hosts.check_origin(&path, &headers(&all)).is_ok(), allowed, "{host} {more:?}");
        }
    }
}
