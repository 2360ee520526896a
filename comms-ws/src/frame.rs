//! What stands in the frames: JSON text, as `docs/reference/websocket.md` has it.

use axum::extract::ws::Utf8Bytes;
use comms_core::Error;
use serde::{Deserialize, Serialize};

/// What a person's socket is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// `source/id` of the event behind it: by it a client tells copies apart.
    pub id: String,
    /// Its type: `order.status.changed.v1`.
    pub event: String,
    /// When it happened, RFC 3339.
    pub time: String,
    /// The trace it belongs to, from the click to the push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What the client shows.
    pub data: serde_json::Value,
}

/// A frame to a client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame<'a> {
    Welcome {
        session: &'a str,
        topics: &'a [String],
        ping_seconds: u64,
    },
    Event {
        topic: &'a str,
        #[serde(flatten)]
        event: &'a Event,
    },
    Subscribed {
        topic: &'a str,
    },
    Unsubscribed {
        topic: &'a str,
    },
    Pong,
    Error {
        code: &'static str,
        detail: &'a str,
    },
}

impl ServerFrame<'_> {
    /// The text, ready to be shared by any number of sockets.
    ///
    /// # Errors
    /// `Invalid` for what JSON cannot hold; nothing here is such.
    pub(crate) fn encode(&self) -> Result<Utf8Bytes, Error> {
        serde_json::to_string(self).map(Utf8Bytes::from).map_err(Error::invalid)
    }
}

/// A frame from a client. Unknown fields are ignored, unknown types are malformed.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ClientFrame {
    Subscribe { topic: String },
    Unsubscribe { topic: String },
    Ping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_the_reference_has_it() {
        let event = Event {
            id: "order-service/0193".into(),
            event: "order.status.changed.v1".into(),
            time: "2026-11-21T07:00:00.123Z".into(),
            traceparent: None,
            data: serde_json::json!({"status": "PAID"}),
        };
        let frame = ServerFrame::Event { topic: "user/ann", event: &event }.encode().unwrap();
        assert_eq!(
            frame.as_str(),
            r#"{"type":"event","topic":"user/ann","id":"order-service/0193","event":"order.status.changed.v1","time":"2026-11-21T07:00:00.123Z","data":{"status":"PAID"}}"#
        );
    }

    #[test]
    fn client_frames_are_read_with_room_for_what_is_to_come() {
        let read = |text: &str| serde_json::from_str::<ClientFrame>(text).ok();
        let subscribe = ClientFrame::Subscribe { topic: "t".into() };
        assert_eq!(read(r#"{"type":"subscribe","topic":"t","since":"later"}"#), Some(subscribe));
        assert_eq!(read(r#"{"type":"ping"}"#), Some(ClientFrame::Ping));
        for bad in [r#"{"type":"publish"}"#, r#"{"type":"subscribe"}"#, "[]", "", r#"{"type":"ping"} x"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
