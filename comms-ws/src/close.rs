//! The close codes that a hub sends.
//!
//! Codes below 3000 are those of RFC 6455, codes from 4000 are those of this protocol.

/// The server shuts down. The client reconnects after the time of the frame `drain`, or after a random one.
pub const GOING_AWAY: u16 = 1001;
/// The received bytes were not WebSocket frames.
pub const PROTOCOL: u16 = 1002;
/// The client sent a binary frame.
pub const UNSUPPORTED: u16 = 1003;
/// A text frame of the client was not UTF-8.
pub const NOT_UTF8: u16 = 1007;
/// The client sent 10 malformed frames, or exceeded
/// [`HubConfig::client_frames_per_second`](crate::HubConfig::client_frames_per_second).
pub const POLICY: u16 = 1008;
/// A message of the client was longer than [`HubConfig::max_client_frame`](crate::HubConfig::max_client_frame).
pub const TOO_BIG: u16 = 1009;
/// The session expired ([`Session::expires_at_unix`](crate::Session::expires_at_unix)), or its first frame did not
/// authenticate it. The client reconnects with a new token.
pub const TOKEN_EXPIRED: u16 = 4401;
/// The application has ended the sessions of this principal
/// ([`Hub::disconnect`](crate::Hub::disconnect)). The client does not reconnect.
pub const FORBIDDEN: u16 = 4403;
/// The client read too slowly, so that its queue exceeded a limit or a write took too long. The client reconnects with
/// its cursor, and resumes the topics that have history.
pub const TOO_SLOW: u16 = 4408;
/// A newer session of the same principal has replaced this one
/// ([`PrincipalLimit::EndOldest`](crate::PrincipalLimit::EndOldest)). The client does not reconnect, or two clients would
/// replace each other for ever.
pub const REPLACED: u16 = 4409;
/// The server received no frame, not even the response to a ping, for two times
/// [`HubConfig::ping_interval`](crate::HubConfig::ping_interval).
pub const SILENT: u16 = 4410;
/// The principal that has authenticated in a frame has too many sessions. The client reconnects after a random time.
pub const TOO_MANY_SESSIONS: u16 = 4429;

/// The reason why a session ends: the close code, and a text for the developer of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReason {
    /// One of the codes of this module.
    pub code: u16,
    /// The text of the close frame.
    pub text: &'static str,
}

/// A close code with its text, and how the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    orderly: bool,
}

impl Close {
    pub(crate) const GOING_AWAY: Self = Self { orderly: true, ..Self::new(GOING_AWAY, "going away") };
    pub(crate) const BINARY: Self = Self::new(UNSUPPORTED, "a binary frame: send text frames");
    pub(crate) const MALFORMED: Self = Self::new(POLICY, "too many malformed frames");
    pub(crate) const TOO_MANY: Self = Self::new(POLICY, "too many frames");
    pub(crate) const TOO_BIG: Self = Self::new(TOO_BIG, "message too big");
    pub(crate) const TOKEN_EXPIRED: Self = Self::new(TOKEN_EXPIRED, "token expired");
    pub(crate) const UNAUTHENTICATED: Self =
        Self::new(TOKEN_EXPIRED, "not authenticated: send authenticate with a valid token first");
    pub(crate) const TOO_MANY_SESSIONS: Self = Self::new(TOO_MANY_SESSIONS, "too many sessions of this user");
    pub(crate) const DISCONNECTED: Self = Self::new(FORBIDDEN, "disconnected by the application");
    pub(crate) const TOO_SLOW: Self = Self::new(TOO_SLOW, "too slow: reconnect with the cursor");
    pub(crate) const REPLACED: Self = Self::new(REPLACED, "replaced by a newer session of this user");
    pub(crate) const SILENT: Self = Self::new(SILENT, "no frame received");

    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, orderly: false }
    }

    /// Returns whether what is queued is still sent before the close frame.
    pub(crate) const fn is_orderly(self) -> bool {
        self.orderly
    }
}

impl From<Close> for CloseReason {
    fn from(close: Close) -> Self {
        Self { code: close.code, text: close.reason }
    }
}
