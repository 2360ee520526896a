//! The boundaries of the messages in a gRPC body, read without decoding a message.
//!
//! tonic decodes a body that ends inside of a message as a clean end if nothing of the message arrived after its prefix,
//! and reports a message over its limit as OUT_OF_RANGE. Both sides of a call check their bodies with [`MessageFrames`].

use tonic::Status;

/// The length of the prefix of a message: one byte of flags, and the length of the message as four bytes.
const PREFIX: usize = 5;

/// The position in a body of length-prefixed messages. The memory and the time per frame are constant.
#[derive(Debug)]
pub(crate) struct MessageFrames {
    /// The maximum length of a message in bytes, without its prefix.
    limit: usize,
    prefix: [u8; PREFIX],
    /// The number of bytes of the prefix that were read. A complete prefix is reset at once.
    prefix_read: usize,
    /// The number of bytes of the current message that were not read.
    left: usize,
    /// The number of messages whose prefix was read.
    messages: u64,
}

impl MessageFrames {
    /// Returns the position at the start of a body whose messages have at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX], prefix_read: 0, left: 0, messages: 0 }
    }

    /// Returns the number of messages that have begun.
    #[cfg(any(feature = "server", test))]
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Moves the position over `data`.
    ///
    /// # Errors
    /// Returns RESOURCE_EXHAUSTED if a prefix announces a message over the limit.
    pub(crate) fn read(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(data.len());
                self.left -= skipped;
                data = data.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = (PREFIX - self.prefix_read).min(data.len());
            let (read, rest) = data.split_at(wanted);
            if let Some(free) = self.prefix.get_mut(self.prefix_read..self.prefix_read + wanted) {
                free.copy_from_slice(read);
            }
            self.prefix_read += wanted;
            data = rest;
            if self.prefix_read == PREFIX {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), Status> {
        let [_, a, b, c, d] = self.prefix;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let limit = self.limit;
        if length > limit {
            return Err(Status::resource_exhausted(format!(
                "a message of {length} bytes exceeds the limit of {limit} bytes"
            )));
        }
        self.prefix_read = 0;
        self.left = length;
        self.messages += 1;
        Ok(())
    }

    /// Checks that the body may end here.
    ///
    /// # Errors
    /// Returns INTERNAL if a message, or its prefix, is incomplete.
    pub(crate) fn end(&self) -> Result<(), Status> {
        match (self.left, self.prefix_read) {
            (0, 0) => Ok(()),
            (0, read) => Err(Status::internal(format!(
                "the stream ended after {read} of the {PREFIX} bytes of a message prefix"
            ))),
            (left, _) => {
                Err(Status::internal(format!("the stream ended {left} bytes before the end of a message")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    /// Three messages, of 3, 0 and 300 bytes.
    fn body() -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0, 3, 1, 2, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 44];
        body.resize(body.len() + 300, 7);
        body
    }

    #[test]
    fn the_count_and_the_end_do_not_depend_on_how_the_body_is_cut() {
        for piece in [1, 2, 3, 4, 5, 6, 7, 8, 100, 400] {
            let mut frames = MessageFrames::new(300);
            body().chunks(piece).for_each(|piece| frames.read(piece).unwrap());
            assert_eq!(frames.messages(), 3, "{piece}");
            frames.end().unwrap();
        }
    }

    #[test]
    fn a_body_may_end_only_between_messages() {
        let body = body();
        let ends: Vec<usize> = (0..=body.len())
            .filter(|end| {
                let mut frames = MessageFrames::new(300);
                frames.read(&body[..*end]).unwrap();
                frames.end().is_ok()
            })
            .collect();
        assert_eq!(ends, [0, 8, 13, 318]);
    }

    #[test]
    fn a_prefix_over_the_limit_is_refused_before_its_message() {
        let mut frames = MessageFrames::new(299);
        let status = frames.read(&body()[..18]).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "a message of 300 bytes exceeds the limit of 299 bytes");
        let mut frames = MessageFrames::new(usize::MAX);
        frames.read(&[0, 255, 255, 255, 255]).unwrap();
        assert_eq!(frames.end().unwrap_err().code(), Code::Internal);
    }
}
