//! Targets for the frames of clients, and for compressed messages.

use std::io::{self, Cursor, Read, Write};

use comms_ws::testing::{Decoded, compress, decode, inflate};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role, WebSocket, WebSocketConfig, frame::coding::CloseCode},
};

/// The longest message.
const MAX: usize = 300;
/// The most that a decoder keeps: the longest compressed message and a control frame.
const MAX_KEPT: usize = MAX + MAX / 8 + 16 + 125;

/// The first byte says whether compression was negotiated, and into pieces of which size the rest is cut. The rest is the
/// stream of a client.
pub(super) fn frames(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let (deflate, size) = (first & 1 == 1, 1 + usize::from(first >> 1));
    let read = |size| {
        let kept = |capacity| assert!(capacity <= MAX_KEPT, "{capacity} bytes kept");
        decode(stream.chunks(size), MAX, deflate, kept)
    };
    let whole = read(stream.len().max(1));
    assert_eq!(read(1), whole, "byte by byte");
    assert_eq!(read(size), whole, "in pieces of {size}");
    for (opcode, content) in &whole.frames {
        assert!(content.len() <= if *opcode > 7 { 125 } else { MAX });
        assert!(*opcode != 1 || std::str::from_utf8(content).is_ok());
    }
    if !deflate {
        compare(stream.to_vec());
    }
}

/// Checks that tungstenite has the same result as a server.
fn compare(mut stream: Vec<u8>) {
    // tungstenite reports some violations at the end of the frame, which these bytes complete.
    stream.resize(stream.len() + MAX + 14, 0);
    let mut ours = decode([&stream[..]], MAX, false, drop);
    // tungstenite accepts lengths that are not encoded in the fewest bytes, and reports no parts of messages.
    if ours.violation.is_some_and(|(_, reason)| reason == "invalid encoding of a length") {
        return;
    }
    ours.frames.retain(|(opcode, _)| *opcode != 0);
    // tungstenite reports a close code that must not be sent as a close with the code 1002.
    let closed = ours.frames.pop_if(|frame| *frame == (8, 1002_u16.to_be_bytes().to_vec()));
    let our_code = closed.map(|_| 1002).or(ours.violation.map(|(code, _)| code));
    let (frames, code) = tungstenite(stream);
    assert_eq!(ours.frames, frames);
    // A frame may breach two rules. tungstenite checks the length first, and the reason of a close frame before its code.
    let both = our_code == Some(1002) && matches!(code, Some(1009 | 1007));
    assert!(both || our_code == code, "{:?}, tungstenite: {code:?}", ours.violation);
}

/// A connection whose input is given and whose output is dropped.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the frames that tungstenite receives as a server, and the close code for its error.
fn tungstenite(stream: Vec<u8>) -> (Vec<(u8, Vec<u8>)>, Option<u16>) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let mut server = WebSocket::from_raw_socket(Pipe(Cursor::new(stream)), Role::Server, Some(config));
    let mut received = Vec::new();
    loop {
        received.push(match server.read() {
            Ok(Message::Text(text)) => (1, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => (2, bytes.to_vec()),
            Ok(Message::Ping(payload)) => (9, payload.to_vec()),
            Ok(Message::Pong(_)) => (10, Vec::new()),
            Ok(Message::Close(Some(close))) if close.code == CloseCode::Protocol => {
                return (received, Some(1002));
            }
            Ok(Message::Close(close)) => {
                let code = close.map(|close| u16::from(close.code).to_be_bytes().to_vec());
                received.push((8, code.unwrap_or_default()));
                return (received, None);
            }
            Ok(Message::Frame(_)) => unreachable!("only written"),
            Err(Error::Capacity(_)) => return (received, Some(1009)),
            Err(Error::Utf8(_)) => return (received, Some(1007)),
            // The end of the stream.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return (received, None),
            Err(_) => return (received, Some(1002)),
        });
    }
}

/// The input is the payload of a compressed message, and also a content to compress.
pub(super) fn deflate(data: &[u8]) {
    match inflate(data, MAX) {
        Ok(content) => {
            assert!(content.len() <= MAX && content.capacity() <= MAX, "{} bytes", content.capacity());
            assert_eq!(inflate(data, content.len()).as_ref(), Ok(&content), "the limit is exact");
            assert_eq!(inflate(&compress(&content), MAX).as_ref(), Ok(&content));
            if let Some(less) = content.len().checked_sub(1) {
                assert_eq!(inflate(data, less), Err(1009));
            }
        }
        Err(1007) => assert_eq!(inflate(data, 100 * MAX), Err(1007), "corrupt whatever the limit is"),
        Err(code) => {
            assert_eq!(code, 1009);
            // Deflate makes at most 1,032 bytes of one.
            let longer = inflate(data, 1_040 * (data.len() + 1));
            assert!(longer.map_or_else(|code| code == 1007, |content| content.len() > MAX));
        }
    }
    let payload = compress(data);
    assert!(payload.len() <= data.len() + data.len() / 8 + 16);
    assert_eq!(inflate(&payload, data.len()).as_deref(), Ok(data));
    if let Some((_, cut)) = payload.split_last() {
        assert_ne!(
            inflate(cut, data.len()).as_deref(),
            Ok(data),
            "a message without its end is not the message"
        );
    }
    let frame = frame_of(&payload);
    let Decoded { frames, violation } = decode([&frame[..]], data.len(), true, drop);
    assert_eq!((frames, violation), (vec![(2, data.to_vec())], None));
}

/// Returns a compressed binary frame of a client, with a mask of zeros.
fn frame_of(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xc2];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
