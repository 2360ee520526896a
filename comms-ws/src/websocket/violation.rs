//! What a client has done wrong.

/// A breach of the protocol, or of a limit. The connection is closed with `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code: 1002 for the protocol, 1007 for invalid data, 1009 for a message that is too long.
    pub(crate) code: u16,
    /// The reason of the close frame.
    pub(crate) reason: &'static str,
}

impl Violation {
    pub(super) const NOT_UTF8: Self = Self { code: 1007, reason: "text is not UTF-8" };
    pub(super) const NOT_DEFLATE: Self = Self { code: 1007, reason: "invalid compressed data" };
    pub(super) const TOO_LONG: Self = Self { code: 1009, reason: "message too long" };

    pub(super) fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }
}
