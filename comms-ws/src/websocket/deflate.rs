//! Compression of one message (permessage-deflate, RFC 7692), without a context that goes from one message to the next.
//!
//! Without a context, a compressed frame is the same for all clients, and a connection holds no window. The state of the
//! algorithms, a few hundred KiB, exists once per thread.

use super::violation::Violation;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// The end of an empty block, which each message ends with and which is not sent.
const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];
/// What is appended to a received message: the end that was not sent, and a final block, by which a whole message is
/// distinguished from a truncated one.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// The size of the pieces in which a message is decompressed.
const PIECE: usize = 4096;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::default(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Returns the longest payload that a message of `max_message` bytes may have when it is compressed. A simple compressor
/// writes up to nine bits for a byte.
pub(super) fn max_compressed(max_message: usize) -> usize {
    max_message.saturating_add(max_message / 8).saturating_add(16)
}

/// Returns the payload of a compressed message with the content `text`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn compress(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress_into(text, &mut out);
    out
}

/// Appends the payload of a compressed message with the content `text` to `out`.
pub(super) fn compress_into(text: &[u8], out: &mut Vec<u8>) {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut rest = text;
        // The first piece is enough for text, the others for data that is not compressible.
        out.reserve(text.len() / 2 + 64);
        loop {
            let before = compress.total_in();
            // Fails only for a stream in a wrong state, and each message begins with a reset.
            let result = compress.compress_vec(rest, out, FlushCompress::Sync);
            rest = &rest[(compress.total_in() - before) as usize..];
            if result.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                break;
            }
            out.reserve(rest.len() + 64);
        }
    });
    if out.ends_with(&FLUSH) {
        out.truncate(out.len() - FLUSH.len());
    }
}

/// Returns the content of a compressed message. Allocates at most `max` bytes for it.
///
/// # Errors
/// Returns a [`Violation`] with code 1009 if the content is longer than `max` bytes, and with code 1007 if the payload is
/// corrupt or incomplete.
pub(crate) fn inflate(payload: &[u8], max: usize) -> Result<Vec<u8>, Violation> {
    DECOMPRESS.with_borrow_mut(|decompress| {
        let mut out = Vec::new();
        decompress.reset(false);
        inflate_part(decompress, payload, max, &mut out)?;
        match inflate_part(decompress, &END, max, &mut out)? {
            true => Ok(out),
            false => Err(Violation::NOT_DEFLATE),
        }
    })
}

/// Appends the content of `part` to `out`, and returns whether `part` ends with the end of a final block.
fn inflate_part(
    decompress: &mut Decompress,
    mut part: &[u8],
    max: usize,
    out: &mut Vec<u8>,
) -> Result<bool, Violation> {
    let mut piece = [0; PIECE];
    loop {
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let status = decompress
            .decompress(part, &mut piece, FlushDecompress::None)
            .map_err(|_| Violation::NOT_DEFLATE)?;
        part = &part[(decompress.total_in() - read) as usize..];
        let written = (decompress.total_out() - written) as usize;
        if written > max - out.len() {
            return Err(Violation::TOO_LONG);
        }
        append(out, &piece[..written], max);
        let ended = status == Status::StreamEnd;
        if ended && part.is_empty() {
            return Ok(true);
        }
        if ended {
            // A client may send final blocks. The empty block that follows them begins a new stream.
            decompress.reset(false);
        } else if written < PIECE && part.is_empty() {
            return Ok(false);
        } else if status == Status::BufError {
            return Err(Violation::NOT_DEFLATE);
        }
    }
}

/// Doubles the capacity when it is used up, up to `max`.
fn append(out: &mut Vec<u8>, piece: &[u8], max: usize) {
    let wanted = out.len() + piece.len();
    if wanted > out.capacity() {
        out.reserve_exact(wanted.max(max.min(out.capacity() * 2)) - out.len());
    }
    out.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no compressor makes shorter.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn messages_of_the_rfc_are_read() {
        let table: [&[u8]; 5] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            // A final block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // Two blocks.
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            // Two final blocks, the second without content.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x03, 0x00, 0x00],
        ];
        for payload in table {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(&b"Hello"[..]), "{payload:x?}");
            assert_eq!(inflate(payload, 4), Err(Violation::TOO_LONG));
        }
        assert_eq!(inflate(&[0], 0), Ok(vec![]));
        assert_eq!(compress(b""), [0]);
        assert_eq!(compress(b"Hello"), table[0]);
    }

    #[test]
    fn a_message_is_the_same_after_compression() {
        for len in [1, 100, PIECE - 1, PIECE, PIECE + 1, 70_000, 1 << 20] {
            for content in [vec![b'a'; len], noise(len)] {
                let payload = compress(&content);
                assert!(!payload.ends_with(&FLUSH));
                assert!(payload.len() <= max_compressed(len), "{len}: {}", payload.len());
                assert_eq!(inflate(&payload, len).as_ref(), Ok(&content));
                assert_eq!(inflate(&payload, len - 1), Err(Violation::TOO_LONG));
            }
        }
    }

    #[test]
    fn a_bomb_allocates_no_more_than_the_limit() {
        let bomb = compress(&vec![0; 16 << 20]);
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        let mut out = Vec::new();
        let mut decompress = Decompress::new(false);
        assert_eq!(inflate_part(&mut decompress, &bomb, 100_000, &mut out), Err(Violation::TOO_LONG));
        assert!(out.capacity() <= 100_000, "{}", out.capacity());
    }

    #[test]
    fn corrupt_and_truncated_messages_are_refused() {
        let payload = compress(
            &noise(300).iter().map(|byte| b"order paid"[usize::from(byte % 10)]).collect::<Vec<_>>(),
        );
        for end in 0..payload.len() {
            assert_eq!(inflate(&payload[..end], 2000), Err(Violation::NOT_DEFLATE), "{end}");
        }
        // A reserved block type, a stored block with a wrong length, and a final block without the empty block after it.
        for payload in
            [&[0x07][..], &[0x00, 0x05, 0x00, 0x00, 0x00], &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]]
        {
            assert_eq!(inflate(payload, 2000), Err(Violation::NOT_DEFLATE), "{payload:x?}");
        }
        assert_eq!(inflate(&compress(b"Hello"), 5).as_deref(), Ok(&b"Hello"[..]), "the next message");
    }
}
