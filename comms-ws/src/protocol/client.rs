//! The frames from clients.

use serde::Deserialize;

use crate::topic::Filter;

/// A frame from a client. Unknown fields are ignored, and unknown types are malformed.
#[derive(Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "testing", derive(serde::Serialize))]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ClientFrame {
    Authenticate {
        token: String,
        #[serde(default)]
        cursor: Option<String>,
    },
    Refresh {
        token: String,
    },
    Subscribe {
        topic: String,
        #[serde(default)]
        cursor: Option<String>,
        #[serde(default)]
        filter: Filter,
        /// The maximum number of events that are sent and not acknowledged.
        #[serde(default)]
        window: Option<usize>,
    },
    Unsubscribe {
        topic: String,
    },
    /// Acknowledges all events up to the positions of the cursor.
    Ack {
        cursor: String,
    },
    Ping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_unknown_types_are_malformed() {
        let read = |text: &str| serde_json::from_str::<ClientFrame>(text).ok();
        let subscribe = ClientFrame::Subscribe {
            topic: "t".into(),
            cursor: None,
            filter: Filter::default(),
            window: None,
        };
        assert_eq!(read(r#"{"type":"subscribe","topic":"t","since":"later"}"#), Some(subscribe));
        assert_eq!(read(r#"{"type":"ping"}"#), Some(ClientFrame::Ping));
        let filtered = ClientFrame::Subscribe {
            topic: "t".into(),
            cursor: Some("c".into()),
            filter: Filter::default().event("paid").key("7"),
            window: Some(9),
        };
        let text = r#"{"type":"subscribe","topic":"t","cursor":"c","filter":{"events":["paid"],"keys":["7"]},"window":9}"#;
        assert_eq!(read(text), Some(filtered));
        for bad in [
            r#"{"type":"publish"}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","topic":"t","window":-1}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"subscribe","topic":"t","filter":{"event":["paid"]}}"#,
            "[]",
            "",
            r#"{"type":"ping"} x"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
