//! The boundaries of the messages in a response body.

use tonic::Status;

/// The length of the prefix of a message: a flag, and the length of the message in four bytes.
const PREFIX: usize = 5;

/// Follows the messages of a body, to detect a body that ends in the middle of a message.
#[derive(Debug, Default)]
pub(super) struct Framing {
    prefix: [u8; PREFIX],
    /// The bytes of the current prefix that were received.
    received: usize,
    /// The bytes of the current message that are missing.
    missing: usize,
}

impl Framing {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.received < PREFIX {
                self.prefix[self.received] = bytes[0];
                self.received += 1;
                bytes = &bytes[1..];
                if self.received < PREFIX {
                    continue;
                }
                let [_, length @ ..] = self.prefix;
                self.missing = u32::from_be_bytes(length) as usize;
            }
            let taken = self.missing.min(bytes.len());
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                self.received = 0;
            }
        }
    }

    /// Returns the failure of a body that ends now, if it ends in the middle of a message.
    pub(super) fn truncated(&self) -> Option<Status> {
        (self.received > 0)
            .then(|| Status::internal("the response ended in the middle of a message: part of it was lost"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty message, a message of three bytes, and an empty message.
    const BODY: &[u8] = b"\0\0\0\0\0\0\0\0\0\x03abc\0\0\0\0\0";

    #[test]
    fn a_body_may_end_only_between_messages_however_it_is_split() {
        for chunk in 1..=BODY.len() {
            for end in 0..=BODY.len() {
                let mut framing = Framing::default();
                BODY[..end].chunks(chunk).for_each(|bytes| framing.add(bytes));
                let complete = [0, 5, 13, 18].contains(&end);
                assert_eq!(framing.truncated().is_none(), complete, "{end} bytes in chunks of {chunk}");
            }
        }
    }
}
