//! The decoder and the encoder together, and against another implementation.

mod differential;
mod random;
mod rules;

use super::{
    decoder::{Decoder, Received},
    violation::Violation,
};

/// The limit of a message in these tests.
const MAX: usize = 70_000;

/// Returns a frame of a client: the first byte of its header, and its payload with a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x9a, 0x00, 0xf3];
    let mut frame = vec![first];
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
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Decodes pieces of a stream. Fails if the decoder keeps more bytes than the limit.
fn decode<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Received>, Option<Violation>) {
    let mut received = vec![];
    for mut piece in pieces {
        loop {
            let result = decoder.decode(&mut piece);
            assert!(decoder.capacity() <= MAX + MAX / 8 + 16 + 125, "{}", decoder.capacity());
            match result {
                Ok(Some(frame)) => received.push(frame),
                Ok(None) => break,
                Err(violation) => return (received, Some(violation)),
            }
        }
        assert!(piece.is_empty());
    }
    (received, None)
}
