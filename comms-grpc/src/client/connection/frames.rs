//! Reads the headers of the frames in both directions, and the settings that limit the number of calls.
//!
//! h2 applies the settings of a peer, but reports neither a change of them nor a GOAWAY, nor whether it has begun to write a
//! request.

/// The length of a frame header (RFC 9113, section 4.1).
const HEADER: usize = 9;
/// The length of one setting: an id of two bytes and a value of four (RFC 9113, section 6.5.1).
const SETTING: usize = 6;

/// The length of the preface of a client (RFC 9113, section 3.4).
const PREFACE: usize = 24;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2).
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

/// What one side has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The first frame is not SETTINGS, so the peer does not speak HTTP/2 (RFC 9113, section 3.4).
    OtherProtocol,
    /// A SETTINGS frame, with the maximum number of streams if the frame has it.
    Settings(Option<u32>),
    /// The peer takes no further stream on this connection.
    GoAway,
    /// The header of a HEADERS frame, with the id of its stream.
    Headers(u32),
}

/// The position in the bytes of one side.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Buffer<HEADER>,
    /// The bytes of the payload that have not arrived.
    left: usize,
    setting: Buffer<SETTING>,
    max_streams: Option<u32>,
    /// Whether the first frame was SETTINGS.
    speaks: bool,
}

impl Frames {
    /// Returns the start of the bytes of a client.
    pub(super) fn of_client() -> Self {
        // The preface counts as the payload of a frame that is not of interest.
        let header = Buffer { bytes: [0; HEADER], filled: HEADER };
        Self { header, left: PREFACE, speaks: true, ..Self::default() }
    }

    /// Reads `bytes`, and reports each frame of interest: HEADERS when the header of the frame is complete, other frames
    /// when their last byte was read.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut report: impl FnMut(Event)) {
        while !bytes.is_empty() {
            if !self.header.is_full() {
                self.header.fill(&mut bytes);
                if !self.header.is_full() {
                    return;
                }
                let [a, b, c, kind, _, stream @ ..] = self.header.bytes;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                if kind == HEADERS {
                    report(Event::Headers(u32::from_be_bytes(stream)));
                }
                if !self.speaks && kind != SETTINGS {
                    report(Event::OtherProtocol);
                }
                self.speaks = true;
            }
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            (self.left, bytes) = (self.left - payload.len(), rest);
            let [_, _, _, kind, flags, ..] = self.header.bytes;
            let is_settings = kind == SETTINGS && flags & ACK == 0;
            if is_settings {
                self.read_settings(payload);
            }
            if self.left > 0 {
                return;
            }
            self.header.clear();
            self.setting.clear();
            if is_settings {
                report(Event::Settings(self.max_streams.take()));
            } else if kind == GOAWAY {
                report(Event::GoAway);
            }
        }
    }

    fn read_settings(&mut self, mut payload: &[u8]) {
        while !payload.is_empty() {
            self.setting.fill(&mut payload);
            if !self.setting.is_full() {
                return;
            }
            let [id0, id1, value @ ..] = self.setting.bytes;
            if [id0, id1] == MAX_CONCURRENT_STREAMS {
                self.max_streams = Some(u32::from_be_bytes(value));
            }
            self.setting.clear();
        }
    }
}

/// A part of a frame, which may arrive in pieces.
#[derive(Debug)]
struct Buffer<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }
}

impl<const N: usize> Buffer<N> {
    /// Takes the missing bytes from the front of `source`.
    fn fill(&mut self, source: &mut &[u8]) {
        let (taken, rest) = source.split_at(source.len().min(N - self.filled));
        self.bytes[self.filled..self.filled + taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        *source = rest;
    }

    const fn is_full(&self) -> bool {
        self.filled == N
    }

    const fn clear(&mut self) {
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
    }

    fn setting(id: u8, value: u32) -> Vec<u8> {
        [&[0, id][..], &value.to_be_bytes()].concat()
    }

    /// Reads `bytes` in pieces of `size`.
    fn read(bytes: &[u8], size: usize) -> Vec<Event> {
        let (mut frames, mut events) = (Frames::default(), Vec::new());
        bytes.chunks(size).for_each(|piece| frames.read(piece, |event| events.push(event)));
        events
    }

    #[test]
    fn frames_in_pieces_of_any_size_give_the_same_events() {
        let bytes = [
            frame(SETTINGS, 0, &[setting(4, 65_535), setting(3, 100), setting(5, 16_384)].concat()),
            frame(SETTINGS, ACK, &[]),
            frame(PING, 0, &[SETTINGS; 8]),
            frame(SETTINGS, 0, &[]),
            frame(SETTINGS, 0, &[setting(3, 7), setting(3, 0)].concat()),
            frame(GOAWAY, 0, &[0; 8]),
        ]
        .concat();
        let settings = [Some(100), None, Some(0)].map(Event::Settings);
        let expected: Vec<_> = settings.into_iter().chain([Event::GoAway]).collect();
        for size in 1..=bytes.len() {
            assert_eq!(read(&bytes, size), expected, "pieces of {size} bytes");
        }
    }

    #[test]
    fn the_stream_of_headers_is_reported_with_the_header_of_the_frame() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let request = [0, 0, 7, HEADERS, 4, 0, 0, 1, 3, 1, 2, 3];
        let bytes = [&preface[..], &frame(SETTINGS, 0, &[]), &request].concat();
        for size in 1..=bytes.len() {
            let (mut frames, mut events) = (Frames::of_client(), Vec::new());
            bytes.chunks(size).for_each(|piece| frames.read(piece, |event| events.push(event)));
            assert_eq!(events, [Event::Settings(None), Event::Headers(259)], "pieces of {size} bytes");
        }
    }

    #[test]
    fn nothing_is_reported_before_the_header_of_the_first_frame_is_whole() {
        let settings = frame(SETTINGS, 0, &setting(3, 1));
        for length in 0..settings.len() {
            assert_eq!(read(&settings[..length], 1), []);
        }
        let other = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(read(&other[..8], 8), []);
        assert_eq!(read(&other[..9], 9), [Event::OtherProtocol]);
    }
}
