//! The reasons why a handshake is refused.

use std::time::Duration;

use comms_core::Error;
use http::StatusCode;

use crate::websocket::handshake::NotAcceptable;

/// The wait that a client is asked for when a limit is reached.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The code and the title of a request without a transport.
const NO_WEBSOCKET: (&str, &str) = ("no-websocket", "The request opens no WebSocket and no event stream");

/// The reason why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The origin is not allowed.
    Origin,
    /// The principal has too many sessions.
    Principal,
    /// The address has too many sessions.
    Address,
    /// The hub has too many sessions.
    Full,
    /// Too many sockets have not authenticated yet.
    Unauthenticated,
    /// The hub shuts down.
    Draining,
    /// The request opens neither a WebSocket nor an event stream.
    NoTransport,
    /// The request is no WebSocket handshake that the server accepts.
    Handshake(NotAcceptable),
    /// The server of the connection does not switch protocols.
    NotUpgradable,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Principal | Self::Address => StatusCode::TOO_MANY_REQUESTS,
            Self::Full | Self::Unauthenticated | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoTransport => StatusCode::BAD_REQUEST,
            Self::Handshake(reason) => reason.status(),
            Self::NotUpgradable => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// Returns the code, the title and the detail.
    pub(crate) fn text(self) -> (&'static str, &'static str, String) {
        let (code, title, detail) = match self {
            Self::Origin => ("origin", "The origin is not allowed", "Pages of this origin may not connect."),
            Self::Principal => (
                "too-many-sessions",
                "Too many sessions of this user",
                "Close another session of this user, or try again later.",
            ),
            Self::Address => (
                "too-many-sessions",
                "Too many sessions of this address",
                "Close another session of this address, or try again later.",
            ),
            Self::Full => ("full", "The server has too many sessions", "Try again later."),
            Self::Unauthenticated => (
                "full",
                "The server has too many sockets without a token",
                "Send the token with the handshake, or try again later.",
            ),
            Self::Draining => ("draining", "The server is shutting down", "Connect again."),
            Self::NoTransport => {
                let detail = "Open a WebSocket here, or send Accept: text/event-stream with a token.";
                (NO_WEBSOCKET.0, NO_WEBSOCKET.1, detail)
            }
            Self::NotUpgradable => {
                let detail = "This connection cannot become a WebSocket: use HTTP/1.1.";
                (NO_WEBSOCKET.0, NO_WEBSOCKET.1, detail)
            }
            Self::Handshake(reason) => return (NO_WEBSOCKET.0, NO_WEBSOCKET.1, reason.to_string()),
        };
        (code, title, detail.to_owned())
    }

    /// Returns the reason as a label of a metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Principal => "principal",
            Self::Address => "address",
            Self::Full => "full",
            Self::Unauthenticated => "unauthenticated",
            Self::Draining => "draining",
            Self::NoTransport | Self::Handshake(_) | Self::NotUpgradable => "no_websocket",
        }
    }

    /// Returns whether the client is asked to try again later.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Self::Principal | Self::Address | Self::Full | Self::Unauthenticated | Self::Draining)
    }

    /// Returns the refusal as an error.
    pub(crate) fn into_error(self) -> Error {
        let (_, title, _) = self.text();
        Error::rejected(format!("hub: {title}"), Some(RETRY_AFTER))
    }
}
