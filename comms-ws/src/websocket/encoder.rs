//! The frames of the server. They are not masked, so one encoded frame serves all clients.

use super::{
    deflate,
    frame_header::{FIN, LEN_16, LEN_64, MAX_CONTROL, Opcode, RSV1},
};
use bytes::Bytes;
use std::io;

/// The length of the longest header of a frame of the server.
pub(crate) const HEADROOM: usize = 10;

/// The longest reason of a close frame: the code takes two bytes.
const MAX_REASON: usize = MAX_CONTROL - 2;

/// Writes the header of a frame to the end of the headroom in front of its payload, and returns the index at which the
/// frame begins. The frame is whole: it is the only one of its message.
pub(crate) fn write_header(
    headroom: &mut [u8; HEADROOM],
    opcode: Opcode,
    payload_len: usize,
    compressed: bool,
) -> usize {
    let first = FIN | opcode as u8 | if compressed { RSV1 } else { 0 };
    match payload_len {
        len @ 0..126 => {
            headroom[8..].copy_from_slice(&[first, len as u8]);
            8
        }
        len @ 126..65_536 => {
            headroom[6..8].copy_from_slice(&[first, LEN_16]);
            headroom[8..].copy_from_slice(&(len as u16).to_be_bytes());
            6
        }
        len => {
            headroom[..2].copy_from_slice(&[first, LEN_64]);
            headroom[2..].copy_from_slice(&(len as u64).to_be_bytes());
            0
        }
    }
}

/// A payload that is being written, with space for the header in front of it, so that one allocation holds the frame.
///
/// A payload is appended, or written through [`io::Write`], which never fails.
#[derive(Debug)]
pub(crate) struct FrameBuffer(Vec<u8>);

impl FrameBuffer {
    /// Returns an empty payload with space for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADROOM + capacity);
        buffer.resize(HEADROOM, 0);
        Self(buffer)
    }

    /// Appends bytes to the payload.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the payload.
    #[cfg(test)]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.0[HEADROOM..]
    }

    /// Returns the frame. `compressed` sets the flag of a compressed message.
    pub(crate) fn finish(self, opcode: Opcode, compressed: bool) -> Bytes {
        let Self(mut buffer) = self;
        let start = match buffer.split_first_chunk_mut() {
            Some((headroom, payload)) => write_header(headroom, opcode, payload.len(), compressed),
            None => 0,
        };
        Bytes::from(buffer).slice(start..)
    }
}

impl io::Write for FrameBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a frame with `payload`.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut buffer = FrameBuffer::with_capacity(payload.len());
    buffer.extend(payload);
    buffer.finish(opcode, false)
}

/// Returns a frame with the compressed `payload`, for clients with which compression was negotiated.
pub(crate) fn compressed(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut buffer = FrameBuffer::with_capacity(payload.len() / 2 + 64);
    deflate::compress_into(payload, &mut buffer.0);
    buffer.finish(opcode, true)
}

/// Returns a ping without a payload.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(&[FIN | Opcode::Ping as u8, 0])
}

/// Returns the pong that answers a ping with `payload`. Only the first 125 bytes fit.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &payload[..payload.len().min(MAX_CONTROL)])
}

/// Returns a close frame. A reason is cut after 123 bytes.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let mut buffer = FrameBuffer::with_capacity(MAX_CONTROL);
    buffer.extend(&code.to_be_bytes());
    buffer.extend(&reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)]);
    buffer.finish(Opcode::Close, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_header_has_the_shortest_length() {
        let table: [(usize, &[u8]); 7] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (usize::MAX, &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]),
            (1 << 32, &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (len, expected) in table {
            let mut headroom = [0; HEADROOM];
            let start = write_header(&mut headroom, Opcode::Binary, len, false);
            assert_eq!(&headroom[start..], expected);
        }
    }

    #[test]
    fn a_frame_is_written_in_front_of_its_payload() {
        let mut buffer = FrameBuffer::with_capacity(2);
        let allocation = buffer.0.as_ptr();
        buffer.write_all(b"hi").unwrap();
        assert_eq!(buffer.payload(), b"hi");
        let frame = buffer.finish(Opcode::Text, false);
        assert_eq!(frame, &b"\x81\x02hi"[..]);
        assert_eq!(frame.as_ptr(), allocation.wrapping_add(HEADROOM - 2), "one allocation");
        assert_eq!(compressed(Opcode::Text, b"")[..], [0xc1, 1, 0]);
    }

    #[test]
    fn control_frames_fit_their_limit() {
        assert_eq!(ping(), &[0x89, 0][..]);
        assert_eq!(pong(b"abc"), &b"\x8a\x03abc"[..]);
        assert_eq!(pong(&[7; 200]).len(), 2 + 125);
        assert_eq!(close(1001, "going away"), &b"\x88\x0c\x03\xe9going away"[..]);
        let cut = close(4000, &"é".repeat(100));
        assert_eq!((cut[1], cut.len()), (2 + 122, 2 + 2 + 122), "no half of a code point");
    }
}
