//! The frames of a client, from bytes in pieces of any size.

use super::{
    deflate,
    frame_header::{FrameHeader, MAX_CONTROL, MAX_LEN, Opcode, unmask},
    utf8,
    violation::Violation,
};

/// The result of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    /// The frame completes a text message.
    Text(String),
    /// The frame completes a binary message.
    Binary(Vec<u8>),
    /// A ping with its payload, to be answered by a pong with the same payload.
    Ping(Vec<u8>),
    /// A pong. Its payload is dropped.
    Pong,
    /// The close frame. `code` is `None` if its payload is empty.
    Close { code: Option<u16> },
    /// The frame is part of a message that it does not complete.
    Part,
}

/// Decodes the frames of one client.
///
/// A decoder keeps only what is incomplete: a few bytes of a header, and in one buffer the payloads of the message and of a
/// control frame between its parts. The buffer never has more capacity than the longest message and control frame
/// together, grows with what arrives and not with what is announced, and is freed with the message.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The longest message, after decompression.
    max_message: usize,
    /// The payload of the incomplete message without masks, and then that of an incomplete control frame.
    buffer: Vec<u8>,
    /// The number of bytes in `buffer` that belong to the message.
    message_len: usize,
    /// The number of bytes at the end of a text message that are not yet a code point.
    split: u8,
    /// Whether the client may compress messages.
    deflate: bool,
    /// The message that has begun and is incomplete.
    message: Option<Message>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    text: bool,
    compressed: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Reads a header, of which `len` bytes are there.
    Header { bytes: [u8; MAX_LEN], len: u8 },
    /// Reads a payload, of which `left` bytes are missing. `mask` begins with the byte for the next one.
    Payload { opcode: Opcode, fin: bool, mask: [u8; 4], left: usize },
    /// The client has sent a close frame, or has breached the protocol.
    Closed,
}

impl State {
    const START: Self = Self::Header { bytes: [0; MAX_LEN], len: 0 };
}

impl Decoder {
    /// Returns a decoder for messages of at most `max_message` bytes. `deflate` says whether compression was negotiated; the
    /// limit is then that of the decompressed message.
    pub(crate) fn new(max_message: usize, deflate: bool) -> Self {
        let (buffer, message_len, split) = (Vec::new(), 0, 0);
        Self { max_message, buffer, message_len, split, deflate, message: None, state: State::START }
    }

    /// Takes bytes from the front of `input` up to the end of a frame, and returns the result of the frame.
    ///
    /// Returns `None` when `input` is empty and the next frame incomplete. After a close frame or a violation, the decoder
    /// drops all input and returns `None`.
    ///
    /// # Errors
    /// Returns a [`Violation`] with
    /// - code 1002 if the client breaches RFC 6455 or RFC 7692: see [`FrameHeader::parse`]; a continuation without a
    ///   message, another message within a message, a close frame with one byte or with a code that must not be sent;
    /// - code 1007 if a text message or the reason of a close frame is not UTF-8, as soon as the bytes show it or, if the
    ///   message is compressed, at its end; and if compressed data is corrupt;
    /// - code 1009 if a message is too long, as soon as the header of a frame announces it or the decompression shows it.
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Received>, Violation> {
        let result = self.step(input);
        if matches!(result, Err(_) | Ok(Some(Received::Close { .. }))) {
            self.buffer = Vec::new();
            self.state = State::Closed;
        }
        result
    }

    /// Returns the capacity of the buffer.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Option<Received>, Violation> {
        if let State::Header { bytes, len } = self.state {
            let Some(header) = self.take_header(bytes, len, input)? else { return Ok(None) };
            self.begin(header)?;
        }
        let State::Payload { opcode, fin, mut mask, mut left } = self.state else {
            *input = &[];
            return Ok(None);
        };
        let taken = self.take_payload(mask, left, input);
        mask.rotate_left(taken % 4);
        left -= taken;
        if !opcode.is_control() {
            self.extend_message(fin && left == 0)?;
        }
        if left > 0 {
            self.state = State::Payload { opcode, fin, mask, left };
            return Ok(None);
        }
        self.state = State::START;
        if opcode.is_control() {
            let payload = split_off(&mut self.buffer, self.message_len);
            return control(opcode, payload).map(Some);
        }
        if fin { self.finish().map(Some) } else { Ok(Some(Received::Part)) }
    }

    /// Takes bytes of the header, and returns it when it is complete.
    fn take_header(
        &mut self,
        mut bytes: [u8; MAX_LEN],
        len: u8,
        input: &mut &[u8],
    ) -> Result<Option<FrameHeader>, Violation> {
        let mut len = usize::from(len);
        loop {
            let wanted = FrameHeader::wanted(&bytes[..len]);
            if len == wanted {
                return FrameHeader::parse(&bytes, self.deflate).map(Some);
            }
            let Some(part) = input.split_off(..input.len().min(wanted - len)).filter(|p| !p.is_empty())
            else {
                self.state = State::Header { bytes, len: len as u8 };
                return Ok(None);
            };
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
    }

    /// Checks the header against the message that has begun, and the length against the limit.
    fn begin(&mut self, header: FrameHeader) -> Result<(), Violation> {
        let FrameHeader { opcode, fin, compressed, mask, len } = header;
        match (opcode, self.message) {
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Message { text: opcode == Opcode::Text, compressed });
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::protocol("message within a message"));
            }
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("continuation without a message"));
            }
            (Opcode::Continuation, Some(_)) if compressed => {
                return Err(Violation::protocol("reserved bit set"));
            }
            _ => {}
        }
        let room = self.max_payload().saturating_sub(self.message_len);
        if !opcode.is_control() && len > room as u64 {
            return Err(Violation::TOO_LONG);
        }
        // The length is at most `room` or 125.
        self.state = State::Payload { opcode, fin, mask, left: len as usize };
        Ok(())
    }

    /// Returns the longest payload of the message that has begun, on the wire.
    fn max_payload(&self) -> usize {
        match self.message {
            Some(Message { compressed: true, .. }) => deflate::max_compressed(self.max_message),
            _ => self.max_message,
        }
    }

    /// Appends at most `left` bytes of the payload to the buffer, without the mask, and returns their number.
    fn take_payload(&mut self, mask: [u8; 4], left: usize, input: &mut &[u8]) -> usize {
        let part = input.split_off(..left.min(input.len())).unwrap_or_default();
        let start = self.buffer.len();
        self.reserve(part.len());
        self.buffer.extend_from_slice(part);
        unmask(&mut self.buffer[start..], mask);
        part.len()
    }

    /// Doubles the capacity when it is used up, within the longest content that the limit admits.
    fn reserve(&mut self, additional: usize) {
        let wanted = self.buffer.len() + additional;
        if wanted > self.buffer.capacity() {
            let most = self.max_payload().saturating_add(MAX_CONTROL);
            let capacity = wanted.max(most.min(self.buffer.capacity().saturating_mul(2)));
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    /// Makes the whole buffer part of the message. Checks incomplete text; the text of a complete message is checked by its
    /// conversion.
    fn extend_message(&mut self, complete: bool) -> Result<(), Violation> {
        let checked = self.message_len - usize::from(self.split);
        self.message_len = self.buffer.len();
        if complete || !self.message.is_some_and(|m| m.text && !m.compressed) {
            return Ok(());
        }
        let valid = utf8::check(&self.buffer, checked).ok_or(Violation::NOT_UTF8)?;
        // At most three bytes are left.
        self.split = (self.message_len - valid) as u8;
        Ok(())
    }

    /// Returns the message in the buffer.
    fn finish(&mut self) -> Result<Received, Violation> {
        let Some(message) = self.message.take() else {
            return Err(Violation::protocol("continuation without a message"));
        };
        (self.message_len, self.split) = (0, 0);
        let mut payload = std::mem::take(&mut self.buffer);
        if message.compressed {
            payload = deflate::inflate(&payload, self.max_message)?;
        }
        if !message.text {
            return Ok(Received::Binary(payload));
        }
        String::from_utf8(payload).map(Received::Text).map_err(|_| Violation::NOT_UTF8)
    }
}

/// Removes the bytes from `at` on. Frees the buffer if no bytes are left in it.
fn split_off(buffer: &mut Vec<u8>, at: usize) -> Vec<u8> {
    if at == 0 { std::mem::take(buffer) } else { buffer.split_off(at) }
}

/// Returns the result of a control frame.
fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Received, Violation> {
    match opcode {
        Opcode::Ping => Ok(Received::Ping(payload)),
        Opcode::Close => close(&payload),
        _ => Ok(Received::Pong),
    }
}

/// Returns the result of a close frame (RFC 6455, sections 5.5.1 and 7.4).
fn close(payload: &[u8]) -> Result<Received, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let empty = payload.is_empty();
        return if empty {
            Ok(Received::Close { code: None })
        } else {
            Err(Violation::protocol("close frame of one byte"))
        };
    };
    let code = u16::from_be_bytes(*code);
    // The codes of RFC 6455 and of the registry that may be sent, and those of libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("invalid close code"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NOT_UTF8)?;
    Ok(Received::Close { code: Some(code) })
}
