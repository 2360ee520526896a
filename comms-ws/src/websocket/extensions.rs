//! The negotiation of permessage-deflate in `Sec-WebSocket-Extensions` (RFC 6455, section 9.1; RFC 7692, section 7.1).

use http::{HeaderMap, HeaderValue, header};

/// Neither side keeps a context from one message to the next: see [`deflate`](super::deflate).
const ACCEPT: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The response to an offer that limits the window of the server to the largest one.
const ACCEPT_15: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// A header that is not a list of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns the header value that accepts the first acceptable offer of permessage-deflate, or `None` if there is none.
///
/// An offer is declined if it has an unknown or repeated parameter, an invalid value, or a `server_max_window_bits` below
/// 15: a compressed frame is the same for all clients, with the largest window.
///
/// # Errors
/// Returns [`Malformed`] if a header breaches the grammar, which fails the handshake.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Option<HeaderValue>, Malformed> {
    let mut accepted = None;
    for value in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        let value = value.to_str().map_err(|_| Malformed)?;
        for offer in split(value, ',')? {
            // An empty element of a list is allowed (RFC 9110, section 5.6.1).
            if !offer.is_empty() {
                accepted = accepted.or(accept(offer)?);
            }
        }
    }
    Ok(accepted.map(HeaderValue::from_static))
}

/// Returns the response to one offer, or `None` if it is declined.
fn accept(offer: &str) -> Result<Option<&'static str>, Malformed> {
    let mut parts = split(offer, ';')?.into_iter();
    let name = parts.next().filter(|name| is_token(name)).ok_or(Malformed)?;
    let parameters = parts.map(parameter).collect::<Result<Vec<_>, _>>()?;
    if !name.eq_ignore_ascii_case("permessage-deflate") {
        return Ok(None);
    }
    let mut response = ACCEPT;
    for (i, (name, value)) in parameters.iter().enumerate() {
        let acceptable = match (name.as_str(), value.as_deref()) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
            ("client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => {
                matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
            }
            ("server_max_window_bits", Some("15")) => {
                response = ACCEPT_15;
                true
            }
            _ => false,
        };
        if !acceptable || parameters[..i].iter().any(|(earlier, _)| earlier == name) {
            return Ok(None);
        }
    }
    Ok(Some(response))
}

/// Parses `name` or `name=value`, where a value may be quoted. The name is returned in lower case.
fn parameter(text: &str) -> Result<(String, Option<String>), Malformed> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start())?)),
        None => (text, None),
    };
    let valid = is_token(name) && value.as_deref().is_none_or(is_token);
    if valid { Ok((name.to_ascii_lowercase(), value)) } else { Err(Malformed) }
}

/// Returns the content of a quoted string, or a text without quotes as it is.
fn unquote(text: &str) -> Result<String, Malformed> {
    let Some(quoted) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let mut content = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next().ok_or(Malformed)? {
            '"' => break,
            '\\' => content.push(chars.next().ok_or(Malformed)?),
            c => content.push(c),
        }
    }
    if chars.as_str().is_empty() { Ok(content) } else { Err(Malformed) }
}

/// Splits at `separator` outside of quotes, and removes spaces around the parts.
fn split(text: &str, separator: char) -> Result<Vec<&str>, Malformed> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c| {
        let escapes = quoted && !escaped && c == '\\';
        quoted ^= c == '"' && !escaped;
        escaped = escapes;
        c == separator && !quoted
    });
    let parts = parts.map(|part| part.trim_matches([' ', '\t'])).collect();
    if quoted { Err(Malformed) } else { Ok(parts) }
}

/// Returns whether `text` is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[&'static str]) -> Result<Option<String>, Malformed> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("sec-websocket-extensions", HeaderValue::from_static(value));
        }
        let accepted = negotiate(&headers)?;
        Ok(accepted.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn acceptable_offers_are_accepted() {
        let table: [&[&'static str]; 8] = [
            &["permessage-deflate"],
            &["Permessage-Deflate"],
            &["permessage-deflate; client_max_window_bits"],
            &["permessage-deflate;client_max_window_bits = \"8\" ; server_no_context_takeover"],
            &["permessage-deflate; client_no_context_takeover; client_max_window_bits=15"],
            &["permessage-deflate; server_max_window_bits=9, permessage-deflate"],
            &["permessage-deflate; server_max_window_bits=9", "permessage-deflate"],
            &["foo; bar=\"1\", , x-webkit-deflate-frame", "permessage-deflate, permessage-deflate; unknown"],
        ];
        for values in table {
            assert_eq!(answer(values), Ok(Some(ACCEPT.to_owned())), "{values:?}");
        }
        for bits in [
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=\"1\\5\"",
        ] {
            assert_eq!(answer(&[bits]), Ok(Some(ACCEPT_15.to_owned())));
        }
    }

    #[test]
    fn other_offers_are_declined() {
        for value in [
            "",
            "foo",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; unknown",
            "permessage-bzip2",
        ] {
            assert_eq!(answer(&[value]), Ok(None), "{value}");
        }
        assert_eq!(answer(&[]), Ok(None));
    }

    #[test]
    fn malformed_headers_are_errors() {
        for value in [
            ";",
            "a b",
            "permessage-deflate;",
            "permessage-deflate; =15",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"15",
            "permessage-deflate; client_max_window_bits=\"15\\",
            "permessage-deflate; client_max_window_bits=\"1\"5",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate, a=b",
        ] {
            assert_eq!(answer(&[value]), Err(Malformed), "{value}");
        }
    }
}
