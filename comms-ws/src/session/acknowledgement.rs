//! What an application learns about the acknowledgements of clients.

use crate::backplane::Position;

/// An acknowledgement of a client, from [`HubBuilder::acknowledgements`](crate::HubBuilder::acknowledgements).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement<'a> {
    /// The principal of the session.
    pub principal: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The position up to which the client has handled the events of the topic that it was sent. A publication is at or
    /// before it if its epoch is the same and its offset is not larger ([`Published`](crate::backplane::Published)).
    pub position: Position,
}

/// Receives acknowledgements.
pub(crate) type Report = dyn Fn(Acknowledgement<'_>) + Send + Sync;
