//! Hosts with ports, in requests and URLs.

use std::net::Ipv6Addr;

use axum::http::uri::Authority;

/// Returns whether `authority` is a host with an optional port: no user name or password; a name of letters, digits
/// and `-._~`, or an IP address; and a port of at most 65535. The crate `http` also accepts `host:port` with any text
/// as the port, `*` and `a,b`.
#[must_use]
pub fn is_host_and_port(authority: &Authority) -> bool {
    let (text, host) = (authority.as_str(), authority.host());
    let Some(port) = text.strip_prefix(host) else { return false };
    let in_range = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let named = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    named && (port.is_empty() || port.strip_prefix(':').is_some_and(in_range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_an_optional_port() {
        let right = ["a", "a.example.", "a_b:80", "a:", "127.0.0.1:65535", "[::1]", "[::1]:8080", "xn--a"];
        let wrong = [
            "user@a",
            "user:pw@a",
            "a:abc",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:99999",
            "*",
            "a,b",
            "a;b",
            "[::1%25eth0]",
            "[a]",
            "[::1]x",
        ];
        let check =
            |text: &str| text.parse::<Authority>().is_ok_and(|authority| is_host_and_port(&authority));
        for text in right {
            assert!(check(text), "{text}");
        }
        for text in wrong {
            assert!(!check(text), "{text}");
        }
    }
}
