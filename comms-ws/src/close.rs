//! The codes this server closes with, beside what the protocol itself closes with.

use axum::extract::ws::{CloseFrame, Utf8Bytes};

/// The server is going away: reconnect after a moment, it may be to another.
pub const GOING_AWAY: u16 = 1001;
/// The bytes were no WebSocket frames, or a frame was far beyond the limit.
pub const PROTOCOL: u16 = 1002;
/// The client broke a rule again and again: malformed frames, or too many of them.
pub const POLICY: u16 = 1008;
/// A client frame was over the limit.
pub const TOO_BIG: u16 = 1009;
/// The token's time is over: reconnect with a new one.
pub const TOKEN_EXPIRED: u16 = 4401;
/// The client read too slowly: reconnect and read by REST what was missed.
pub const TOO_SLOW: u16 = 4408;
/// Nothing was heard from the client, not even answers to pings.
pub const SILENT: u16 = 4410;

/// A code with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    reason: &'static str,
}

impl Close {
    pub(crate) const GOING_AWAY: Self = Self::new(GOING_AWAY, "going away");
    pub(crate) const PROTOCOL: Self = Self::new(PROTOCOL, "not a frame this server reads");
    pub(crate) const MALFORMED: Self = Self::new(POLICY, "too many malformed frames");
    pub(crate) const TOO_MANY: Self = Self::new(POLICY, "too many frames");
    pub(crate) const TOO_BIG: Self = Self::new(TOO_BIG, "frame too big");
    pub(crate) const TOKEN_EXPIRED: Self = Self::new(TOKEN_EXPIRED, "token expired");
    pub(crate) const TOO_SLOW: Self = Self::new(TOO_SLOW, "too slow: reconnect and re-read by REST");
    pub(crate) const SILENT: Self = Self::new(SILENT, "no sign of life");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl From<Close> for CloseFrame {
    fn from(close: Close) -> Self {
        Self { code: close.code, reason: Utf8Bytes::from_static(close.reason) }
    }
}
