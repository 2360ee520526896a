//! The parsers of input from clients, with results of plain types, for the fuzz targets.

use http::{Response, StatusCode, request::Parts};

use crate::{
    CursorKey,
    backplane::Position,
    cursor,
    protocol::ClientFrame,
    websocket::{
        decoder::{Decoder, Received},
        deflate,
        handshake::Handshake,
    },
};

/// What a decoder makes of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Each frame as an opcode and its content: the whole message for the frame that completes it, 0 for one that does not,
    /// and the code of a close frame.
    pub frames: Vec<(u8, Vec<u8>)>,
    /// The close code and the reason of the violation that has ended the stream.
    pub violation: Option<(u16, &'static str)>,
}

/// Decodes a stream in pieces, for messages of at most `max` bytes. Calls `observe` with the capacity of the decoder's
/// buffer after each piece and each frame.
pub fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    max: usize,
    deflate: bool,
    mut observe: impl FnMut(usize),
) -> Decoded {
    let (mut decoder, mut decoded) = (Decoder::new(max, deflate), Decoded::default());
    for mut piece in pieces {
        loop {
            let result = decoder.decode(&mut piece);
            observe(decoder.capacity());
            match result {
                Ok(Some(received)) => decoded.frames.push(plain(received)),
                Ok(None) => break,
                Err(violation) => {
                    decoded.violation = Some((violation.code, violation.reason));
                    return decoded;
                }
            }
        }
    }
    decoded
}

fn plain(received: Received) -> (u8, Vec<u8>) {
    match received {
        Received::Part => (0, Vec::new()),
        Received::Text(text) => (1, text.into_bytes()),
        Received::Binary(bytes) => (2, bytes),
        Received::Close { code } => (8, code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default()),
        Received::Ping(payload) => (9, payload),
        Received::Pong => (10, Vec::new()),
    }
}

/// Decompresses a message.
///
/// # Errors
/// Returns the close code 1009 if the content is longer than `max` bytes, and 1007 if the payload is corrupt.
pub fn inflate(payload: &[u8], max: usize) -> Result<Vec<u8>, u16> {
    deflate::inflate(payload, max).map_err(|violation| violation.code)
}

/// Compresses a message.
#[must_use]
pub fn compress(content: &[u8]) -> Vec<u8> {
    deflate::compress(content)
}

/// Answers the handshake of a WebSocket.
///
/// # Errors
/// Returns the status of the response if the request is refused.
pub fn handshake(request: &Parts) -> Result<Response<()>, StatusCode> {
    Handshake::check(request).map(|handshake| handshake.response()).map_err(|reason| reason.status())
}

/// A topic of a cursor with its epoch and offset, which are `None` if nothing can be resumed.
pub type Place = (String, Option<(u64, u64)>);

/// Reads at most `max_topics` tokens of a cursor.
#[must_use]
pub fn read_cursor(keys: &[CursorKey], text: &str, max_topics: usize) -> Vec<Place> {
    let places = cursor::read(keys, text, max_topics);
    let plain = |topic: &str| {
        let position = places.position(topic).flatten();
        (topic.to_owned(), position.map(|position| (position.epoch, position.offset)))
    };
    places.topics().map(plain).collect()
}

/// Returns the token of a position.
#[must_use]
pub fn cursor_token(keys: &[CursorKey], topic: &str, epoch: u64, offset: u64) -> String {
    cursor::token(keys, topic, Position { epoch, offset })
}

/// Reads a frame of a client, and returns what was read as JSON. Returns `None` if the frame is malformed.
#[must_use]
pub fn client_frame(text: &str) -> Option<String> {
    let frame: ClientFrame = serde_json::from_str(text).ok()?;
    serde_json::to_string(&frame).ok()
}
