//! The forms in which transports send the JSON text of a frame.

use bytes::{BufMut, Bytes, BytesMut};

use crate::websocket::{encoder, frame_header::Opcode};

/// The form in which a transport sends a frame. A message is encoded once for all sessions with the same encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The JSON text alone, for transports with a framing of their own.
    Json,
    /// A text frame of a WebSocket (RFC 6455).
    WebSocket,
    /// A text frame of a WebSocket, compressed if that makes it shorter (RFC 7692), without context takeover.
    WebSocketDeflate,
    /// The `data` line of a server-sent event (HTML Living Standard, section 9.2) and the empty line that ends the event.
    EventStream,
}

impl Encoding {
    pub(crate) const COUNT: usize = 4;

    /// Returns the name of the transport in the metrics.
    pub(crate) const fn transport(self) -> &'static str {
        match self {
            Self::WebSocket | Self::WebSocketDeflate => "websocket",
            Self::EventStream => "event_stream",
            Self::Json => "other",
        }
    }

    /// Returns `text`, which has no line break, in this encoding.
    pub(crate) fn encode(self, text: &Bytes) -> Bytes {
        match self {
            Self::Json => text.clone(),
            Self::WebSocket => encoder::frame(Opcode::Text, text),
            Self::WebSocketDeflate => {
                shorter(encoder::compressed(Opcode::Text, text), encoder::frame(Opcode::Text, text))
            }
            Self::EventStream => {
                let mut event = BytesMut::with_capacity(text.len() + 8);
                event.put_slice(b"data: ");
                event.put_slice(text);
                event.put_slice(b"\n\n");
                event.freeze()
            }
        }
    }

    /// Returns the sign of life in this encoding, which a client answers where the transport has an answer.
    pub(crate) fn ping(self) -> Bytes {
        match self {
            Self::Json => Bytes::new(),
            Self::WebSocket | Self::WebSocketDeflate => encoder::ping(),
            // As an event, because browsers do not show comments to the page, which could not notice a dead stream.
            Self::EventStream => Bytes::from_static(b"data: {\"type\":\"ping\"}\n\n"),
        }
    }
}

fn shorter(a: Bytes, b: Bytes) -> Bytes {
    if a.len() < b.len() { a } else { b }
}
