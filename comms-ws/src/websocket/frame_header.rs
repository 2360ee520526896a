//! The header of a frame: its opcode, its flags, its mask and the length of its payload (RFC 6455, section 5.2).

use super::violation::Violation;

/// The length of the longest header of a masked frame.
pub(super) const MAX_LEN: usize = 14;
/// The longest payload of a control frame.
pub(crate) const MAX_CONTROL: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;
/// Values of the length field that announce a length of 16 and of 64 bits.
pub(super) const LEN_16: u8 = 126;
pub(super) const LEN_64: u8 = 127;

/// The type of a frame. A value is the opcode on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn parse(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(Violation::protocol("reserved opcode")),
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// The flag RSV1: the message is compressed.
    pub(super) compressed: bool,
    pub(super) mask: [u8; 4],
    pub(super) len: u64,
}

impl FrameHeader {
    /// Returns the length of the header that begins with `start`, or how many bytes of it are needed to derive the length.
    /// Two bytes are enough of a header without a mask, which is refused: a short frame has no more.
    pub(super) fn wanted(start: &[u8]) -> usize {
        let Some(second) = start.get(1).filter(|second| **second & MASKED != 0) else { return 2 };
        match second & !MASKED {
            LEN_16 => 8,
            LEN_64 => MAX_LEN,
            _ => 6,
        }
    }

    /// Parses a complete header. `deflate` says whether compression was negotiated.
    ///
    /// # Errors
    /// Returns a [`Violation`] with code 1002 if the frame is not masked, has a reserved bit or opcode, is a control frame
    /// that is fragmented, compressed or longer than 125 bytes, or has a length that is negative or not encoded in the
    /// fewest bytes. RFC 6455 requires the shortest encoding of clients; a receiver may accept longer ones, this one
    /// does not.
    pub(super) fn parse(bytes: &[u8; MAX_LEN], deflate: bool) -> Result<Self, Violation> {
        let [first, second, rest @ ..] = *bytes;
        let opcode = Opcode::parse(first & 0x0f)?;
        let (fin, compressed) = (first & FIN != 0, first & RSV1 != 0);
        if first & RESERVED != 0 || (compressed && !deflate) {
            return Err(Violation::protocol("reserved bit set"));
        }
        if second & MASKED == 0 {
            return Err(Violation::protocol("frame without a mask"));
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = rest;
        let (len, mask, shortest) = match second & !MASKED {
            LEN_16 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f], 126),
            LEN_64 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l], 65_536),
            len => (u64::from(len), [a, b, c, d], 0),
        };
        if len < shortest || len > i64::MAX as u64 {
            return Err(Violation::protocol("invalid encoding of a length"));
        }
        if opcode.is_control() && (!fin || compressed || len > MAX_CONTROL as u64) {
            return Err(Violation::protocol("control frame fragmented, compressed or too long"));
        }
        Ok(Self { opcode, fin, compressed, mask, len })
    }
}

/// Applies `mask` to a payload, or to a part of it that begins at a multiple of four bytes.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<FrameHeader, &'static str> {
        assert_eq!(FrameHeader::wanted(bytes), bytes.len());
        let mut header = [0; MAX_LEN];
        header[..bytes.len()].copy_from_slice(bytes);
        FrameHeader::parse(&header, false).map_err(|violation| {
            assert_eq!(violation.code, 1002);
            violation.reason
        })
    }

    #[test]
    fn lengths_of_each_size_are_parsed() {
        let table: [(&[u8], u64); 6] = [
            (&[0x81, 0x80, 1, 2, 3, 4], 0),
            (&[0x81, 0xfd, 1, 2, 3, 4], 125),
            (&[0x81, 0xfe, 0, 126, 1, 2, 3, 4], 126),
            (&[0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4], 65_535),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536),
            (&[0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4], i64::MAX as u64),
        ];
        for (bytes, len) in table {
            let mask = [1, 2, 3, 4];
            let header = FrameHeader { opcode: Opcode::Text, fin: true, compressed: false, mask, len };
            assert_eq!(parse(bytes), Ok(header));
        }
    }

    #[test]
    fn lengths_that_are_negative_or_not_the_shortest_are_refused() {
        let table: [&[u8]; 4] = [
            &[0x82, 0xfe, 0, 125, 0, 0, 0, 0],
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x82, 0xff, 0xff, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
        ];
        for bytes in table {
            assert_eq!(parse(bytes), Err("invalid encoding of a length"), "{bytes:x?}");
        }
    }

    #[test]
    fn reserved_bits_and_opcodes_are_refused() {
        for bit in [0x40, 0x20, 0x10, 0x70] {
            assert_eq!(parse(&[0x81 | bit, 0x80, 0, 0, 0, 0]), Err("reserved bit set"), "{bit:x}");
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(parse(&[0x80 | opcode, 0x80, 0, 0, 0, 0]), Err("reserved opcode"), "{opcode}");
        }
    }

    #[test]
    fn control_frames_are_short_whole_and_plain() {
        for opcode in [8, 9, 10] {
            assert!(parse(&[0x80 | opcode, 0xfd, 0, 0, 0, 0]).is_ok());
            let refused = Err("control frame fragmented, compressed or too long");
            assert_eq!(parse(&[opcode, 0x80, 0, 0, 0, 0]), refused);
            assert_eq!(parse(&[0x80 | opcode, 0xfe, 0, 126, 0, 0, 0, 0]), refused);
            let mut compressed = [0; MAX_LEN];
            compressed[..2].copy_from_slice(&[0xc0 | opcode, 0x80]);
            assert!(FrameHeader::parse(&compressed, true).is_err());
        }
    }

    #[test]
    fn a_mask_is_applied_to_each_byte() {
        for len in 0..20 {
            let mut payload: Vec<u8> = (0..len).collect();
            unmask(&mut payload, [1, 2, 4, 8]);
            let expected: Vec<u8> = (0..len).map(|i| i ^ [1, 2, 4, 8][usize::from(i) % 4]).collect();
            assert_eq!(payload, expected);
        }
    }
}
