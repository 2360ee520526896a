//! The JSON frames of the protocol that `docs/reference/websocket.md` documents.

use axum::extract::ws::Utf8Bytes;
use comms_core::Error;
use serde::{Deserialize, Serialize};

use crate::push::Push;

/// A frame from the server to a client.
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
        push: &'a Push,
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
    /// Encodes the frame once. Clones of the result share its bytes, for any number of sockets.
    ///
    /// # Errors
    /// Returns `Invalid` if JSON cannot represent the frame. The field types exclude this.
    pub(crate) fn encode(&self) -> Result<Utf8Bytes, Error> {
        serde_json::to_string(self).map(Utf8Bytes::from).map_err(Error::invalid)
    }
}

/// A frame from a client. Unknown fields are ignored, and unknown types are malformed.
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
    fn a_push_is_encoded_as_documented() {
        let push = Push {
            id: "order-service/0193".into(),
            event: "order.status.changed.v1".into(),
            time: "2026-11-21T07:00:00.123Z".into(),
            traceparent: None,
            data: serde_json::json!({"status": "PAID"}),
        };
        let frame = ServerFrame::Event { topic: "user/ann", push: &push }.encode().unwrap();
        assert_eq!(
            frame.as_str(),
            r#"{"type":"event","topic":"user/ann","id":"order-service/0193","event":"order.status.changed.v1","time":"2026-11-21T07:00:00.123Z","data":{"status":"PAID"}}"#
        );
    }

    #[test]
    fn unknown_fields_of_client_frames_are_ignored_and_unknown_types_are_malformed() {
        let read = |text: &str| serde_json::from_str::<ClientFrame>(text).ok();
        let subscribe = ClientFrame::Subscribe { topic: "t".into() };
        assert_eq!(read(r#"{"type":"subscribe","topic":"t","since":"later"}"#), Some(subscribe));
        assert_eq!(read(r#"{"type":"ping"}"#), Some(ClientFrame::Ping));
        for bad in [r#"{"type":"publish"}"#, r#"{"type":"subscribe"}"#, "[]", "", r#"{"type":"ping"} x"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
