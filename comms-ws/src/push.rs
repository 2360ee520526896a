//! The message that an application pushes to clients.

use serde::Serialize;

/// A message for the sessions of a topic, see [`Hub::publish`](crate::Hub::publish).
///
/// On the wire it is a frame of type `event` with these fields, the topic and the offset.
///
/// ```
/// use comms_ws::Push;
///
/// let push = Push {
///     key: Some("order/7".into()),
///     ..Push::new("order-service/0193", "order.status.changed.v1", serde_json::json!({"status": "PAID"}))
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Push {
    /// The identity of the message in its topic, such as the `source/id` of the event that caused the push. In a topic
    /// with history, a second push with the same id is discarded while the history has the first one.
    pub id: String,
    /// The type of the event, such as `order.status.changed.v1`. Clients can filter by it.
    pub event: String,
    /// The time of the event in RFC 3339 format. `None` omits the field from the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The thing that the message is about. Clients can filter by it, and a topic with
    /// [`SlowConsumer::KeepLatest`](crate::SlowConsumer::KeepLatest) replaces an older message of the same key. `None`
    /// omits the field from the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The trace context (W3C `traceparent`) of the event. `None` omits the field from the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The content for the client.
    pub data: serde_json::Value,
}

impl Push {
    /// Creates a message without time, key and trace.
    pub fn new(id: impl Into<String>, event: impl Into<String>, data: serde_json::Value) -> Self {
        let (id, event) = (id.into(), event.into());
        Self { id, event, time: None, key: None, traceparent: None, data }
    }
}
