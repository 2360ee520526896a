//! The frames to clients.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// A frame from the server, besides the events.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame<'a> {
    Welcome {
        session: &'a str,
        topics: &'a [JoinedTopic],
        /// The topics that are joined later.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pending: Vec<&'a str>,
        ping_seconds: u64,
        #[serde(flatten)]
        end: End,
    },
    Subscribed(&'a JoinedTopic),
    Unsubscribed {
        topic: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
    },
    Missed {
        topic: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        reason: &'static str,
    },
    Refreshed {
        #[serde(flatten)]
        end: End,
    },
    Pong,
    Close {
        code: u16,
        reason: &'a str,
    },
    Drain {
        retry_ms: u64,
    },
    Error {
        code: &'static str,
        detail: &'a str,
    },
}

/// The end of a session.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct End {
    /// In seconds after the Unix epoch. `None`: the session does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    /// In seconds from now, for clients whose clock is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
}

impl End {
    /// Returns the end at `seconds` after the Unix epoch, where the largest number is none.
    pub(crate) fn at(seconds: u64, now: u64) -> Self {
        let expires = (seconds != u64::MAX).then_some(seconds);
        Self { expires, expires_in: expires.map(|end| end.saturating_sub(now)) }
    }
}

/// A topic that a session has joined.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JoinedTopic {
    pub(crate) topic: String,
    /// The token of the position after which the events follow. `None` in a topic without history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
    /// `None` if the client named no position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered: Option<bool>,
    /// Whether the offsets that the client gets have gaps by design: the topic has a filter, or keeps the latest messages alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sparse: bool,
    /// The maximum number of events that are sent and not acknowledged. `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<usize>,
}

impl ServerFrame<'_> {
    /// Returns the frame as JSON.
    pub(crate) fn encode(&self) -> Bytes {
        // Serialization of these types to memory does not fail: they have no map with keys that are not strings.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Returns the frame of an event: the fields of `body`, which is a JSON object that is not empty, after type, topic
    /// and offset. The content is copied and not encoded again.
    pub(crate) fn event(topic: &str, offset: Option<u64>, body: &[u8]) -> Bytes {
        let start = body.iter().position(|byte| *byte == b'{').map_or(body.len(), |brace| brace + 1);
        let fields = &body[start..];
        let mut text = BytesMut::with_capacity(fields.len() + topic.len() + 64);
        text.put_slice(br#"{"type":"event","topic":"#);
        // As above, writing a string to memory does not fail.
        let _ = serde_json::to_writer((&mut text).writer(), topic);
        if let Some(offset) = offset {
            text.put_slice(br#","offset":"#);
            text.put_slice(offset.to_string().as_bytes());
        }
        text.put_u8(b',');
        text.put_slice(fields);
        text.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Push;

    #[test]
    fn an_event_has_the_fields_of_its_push_after_topic_and_offset() {
        let push = Push::new("order-service/0193", "paid.v1", serde_json::json!({"status": "PAID"}));
        let body = serde_json::to_vec(&push).unwrap();
        let text = |offset| String::from_utf8(ServerFrame::event("a\"b", offset, &body).to_vec()).unwrap();
        let fields = r#""id":"order-service/0193","event":"paid.v1","data":{"status":"PAID"}}"#;
        assert_eq!(text(Some(7)), format!(r#"{{"type":"event","topic":"a\"b","offset":7,{fields}"#));
        assert_eq!(text(None), format!(r#"{{"type":"event","topic":"a\"b",{fields}"#));
    }

    #[test]
    fn frames_leave_out_what_is_not_set() {
        let topic = JoinedTopic {
            topic: "t".into(),
            cursor: None,
            recovered: Some(false),
            sparse: false,
            window: None,
        };
        let text = |frame: ServerFrame<'_>| String::from_utf8(frame.encode().to_vec()).unwrap();
        let subscribed = r#"{"type":"subscribed","topic":"t","recovered":false}"#;
        assert_eq!(text(ServerFrame::Subscribed(&topic)), subscribed);
        assert_eq!(text(ServerFrame::Pong), r#"{"type":"pong"}"#);
    }
}
