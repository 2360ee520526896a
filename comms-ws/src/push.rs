//! The message that an application pushes to sockets.

use serde::Serialize;

/// A message for the sessions of a topic, see [`Hub::publish`](crate::Hub::publish).
///
/// On the wire it is a frame of type `event` with these fields and the topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Push {
    /// The `source/id` of the event that caused the push. Clients use it to recognize duplicates.
    pub id: String,
    /// The type of the event, such as `order.status.changed.v1`.
    pub event: String,
    /// The time of the event in RFC 3339 format.
    pub time: String,
    /// The trace context (W3C `traceparent`) of the event. `None` omits the field from the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The content for the client.
    pub data: serde_json::Value,
}
