//! The close codes that a hub sends.
//!
//! Codes below 3000 are those of RFC 6455, codes from 4000 are those of this protocol.

use axum::extract::ws::{CloseFrame, Utf8Bytes};

/// The server shuts down. The client reconnects after a random delay.
pub const GOING_AWAY: u16 = 1001;
/// The received bytes were not WebSocket frames, or a message was longer than four times
/// [`HubConfig::max_client_frame`](crate::HubConfig::max_client_frame).
pub const PROTOCOL: u16 = 1002;
/// The client sent 10 malformed frames, or exceeded
/// [`HubConfig::client_frames_per_second`](crate::HubConfig::client_frames_per_second).
pub const POLICY: u16 = 1008;
/// A message of the client was longer than [`HubConfig::max_client_frame`](crate::HubConfig::max_client_frame).
pub const TOO_BIG: u16 = 1009;
/// The session expired ([`Session::expires_at_unix`](crate::Session::expires_at_unix)). The client reconnects with a
/// new token.
pub const TOKEN_EXPIRED: u16 = 4401;
/// The client read too slowly, so that its queue exceeded a limit or a write took too long. The client reconnects, and
/// reads by REST what it missed.
pub const TOO_SLOW: u16 = 4408;
/// The server received no frame, not even the response to a ping, for two times
/// [`HubConfig::ping_interval`](crate::HubConfig::ping_interval).
pub const SILENT: u16 = 4410;

/// A close code with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    reason: &'static str,
}

impl Close {
    pub(crate) const GOING_AWAY: Self = Self::new(GOING_AWAY, "going away");
    pub(crate) const PROTOCOL: Self =
        Self::new(PROTOCOL, "not a WebSocket frame, or a message far over the limit");
    pub(crate) const MALFORMED: Self = Self::new(POLICY, "too many malformed frames");
    pub(crate) const TOO_MANY: Self = Self::new(POLICY, "too many frames");
    pub(crate) const TOO_BIG: Self = Self::new(TOO_BIG, "message too big");
    pub(crate) const TOKEN_EXPIRED: Self = Self::new(TOKEN_EXPIRED, "token expired");
    pub(crate) const TOO_SLOW: Self = Self::new(TOO_SLOW, "too slow: reconnect, then read by REST");
    pub(crate) const SILENT: Self = Self::new(SILENT, "no frame received");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl From<Close> for CloseFrame {
    fn from(close: Close) -> Self {
        Self { code: close.code, reason: Utf8Bytes::from_static(close.reason) }
    }
}
