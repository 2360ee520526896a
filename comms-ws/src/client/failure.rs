//! The failures of a connection, and which of them end the client.

use std::time::Duration;

use comms_core::Error;
use http::{HeaderMap, StatusCode, header};
use tokio_tungstenite::tungstenite::{self, error::CapacityError, protocol::CloseFrame};

/// Why a connection ended or was not opened.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether a new connection would fail in the same way.
    pub(super) is_final: bool,
}

impl Failure {
    pub(super) const fn retryable(error: Error) -> Self {
        Self { error, is_final: false }
    }

    pub(super) const fn permanent(error: Error) -> Self {
        Self { error, is_final: true }
    }

    /// The close frame of the server.
    pub(super) fn closed(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else { return Self::lost("the server closed the connection without a code") };
        let code = u16::from(frame.code);
        // The reason is text of the peer: quoted, and at most 123 bytes.
        let text = |advice: &str| {
            format!("the server closed the connection with {code} ({:?}){advice}", frame.reason.as_str())
        };
        match code {
            1002 | 1003 | 1007 => Self::permanent(Error::internal(text(
                ": this client and the server disagree about the protocol; check for a proxy in between, and update the older one",
            ))),
            1008 => Self::permanent(Error::invalid(text(
                ": the client sent too many frames; subscribe and unsubscribe less often",
            ))),
            1009 => Self::permanent(Error::invalid(text(
                ": a frame was too long; use shorter topics and filters",
            ))),
            4403 => Self::permanent(Error::permission_denied(text(": get access for the user of the token"))),
            4409 => Self::permanent(Error::conflict(text(
                ": a newer session of this user has replaced this one; connect again only at the user's request",
            ))),
            4401 => Self::retryable(Error::unauthenticated(text("; a new token follows"))),
            _ => Self::retryable(Error::indeterminate(text(""))),
        }
    }

    /// The connection ended without a close frame.
    pub(super) fn lost(text: &'static str) -> Self {
        Self::retryable(Error::indeterminate(text))
    }

    /// An error of an open WebSocket.
    pub(super) fn socket(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                // The server would send the same event again after each reconnect.
                Self::permanent(Error::misconfigured(format!(
                    "the server sent a message of {size} bytes, {max_size} are allowed: raise max_message"
                )))
            }
            other => Self::retryable(Error::indeterminate(other).context("read from the WebSocket")),
        }
    }

    /// An error of the opening handshake.
    pub(super) fn handshake(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::status(response.status(), response.headers()),
            other => Self::retryable(Error::not_executed(other).context("open the WebSocket")),
        }
    }

    fn status(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = format!("the server refused the handshake with status {}", status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED => Self::retryable(Error::unauthenticated(text)),
            StatusCode::FORBIDDEN => Self::permanent(Error::permission_denied(format!(
                "{text}: the token does not allow events; get access for its user"
            ))),
            _ => {
                let error = Error::not_executed(text);
                Self::retryable(match retry_after(headers) {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
        }
    }
}

/// Returns the `Retry-After` in seconds. A date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    /// A longer wait is cut, so that a faulty proxy cannot stop a client for ever.
    const MAX: u64 = 300;
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::ErrorKind;

    #[test]
    fn close_codes_are_final_as_the_protocol_says() {
        for (code, is_final, kind) in [
            (1000, false, ErrorKind::Indeterminate),
            (1001, false, ErrorKind::Indeterminate),
            (1002, true, ErrorKind::Internal),
            (1003, true, ErrorKind::Internal),
            (1007, true, ErrorKind::Internal),
            (1008, true, ErrorKind::Invalid),
            (1009, true, ErrorKind::Invalid),
            (1011, false, ErrorKind::Indeterminate),
            (4401, false, ErrorKind::Unauthenticated),
            (4403, true, ErrorKind::PermissionDenied),
            (4408, false, ErrorKind::Indeterminate),
            (4409, true, ErrorKind::Conflict),
            (4410, false, ErrorKind::Indeterminate),
        ] {
            let frame = CloseFrame { code: code.into(), reason: "why".into() };
            let failure = Failure::closed(Some(&frame));
            assert_eq!((failure.is_final, failure.error.kind), (is_final, kind), "{code}");
        }
        assert!(!Failure::closed(None).is_final);
    }

    #[test]
    fn a_status_is_final_only_if_access_is_forbidden() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        for (status, is_final) in [(401, false), (403, true), (404, false), (429, false), (503, false)] {
            let failure = Failure::status(StatusCode::from_u16(status).unwrap(), &headers);
            assert_eq!(failure.is_final, is_final, "{status}");
            let wait = (status > 403).then_some(Duration::from_secs(7));
            assert_eq!(failure.error.retry_after, wait, "{status}");
        }
        headers.insert("retry-after", "999999999".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(300)));
    }
}
