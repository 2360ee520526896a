//! Limits of a message and of one call to `enqueue`, checked before anything is written.

use comms_core::{Error, Message};

/// The most bytes of one message, counted over key, headers, payload, source, id and topic: 1,000,000. Each header counts
/// 8 bytes more than its name and value. Kafka's default limit of a record is 1,048,588 bytes; the rest is room for its
/// framing. So a message that was committed can also be published, however many headers it has.
pub const MESSAGE_LIMIT: usize = 1_000_000;
/// The most messages of one call: 10,000.
pub const BATCH_LIMIT: usize = 10_000;
/// The most bytes of one call: 64 MiB.
const BATCH_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of a source, an id or a topic. They are part of index rows.
const NAME_LIMIT: usize = 512;

/// Returns `Invalid` if a message exceeds a limit, and could not be stored or not be published later.
pub(crate) fn check(messages: &[Message]) -> Result<(), Error> {
    if messages.len() > BATCH_LIMIT {
        let count = messages.len();
        return Err(Error::invalid(format!(
            "cannot write {count} messages in one call: the limit is {BATCH_LIMIT}"
        )));
    }
    let total: usize = messages.iter().map(Message::memory).sum();
    if total > BATCH_BYTES {
        return Err(Error::invalid(format!(
            "cannot write {total} bytes in one call: the limit is {BATCH_BYTES}"
        )));
    }
    messages.iter().try_for_each(check_one)
}

fn check_one(message: &Message) -> Result<(), Error> {
    let size = message.memory();
    if size > MESSAGE_LIMIT {
        let id = message.id();
        return Err(Error::invalid(format!(
            "message {id} has {size} bytes, the limit is {MESSAGE_LIMIT}: store large data elsewhere and send a \
             reference"
        )));
    }
    check_name("a message's source", message.source())?;
    check_name("a message's id", message.id())?;
    check_name("a message's topic", message.topic())
}

/// Returns `Invalid` if `text`, the value of `field`, is empty, too long for an index, or contains NUL.
pub(crate) fn check_name(field: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > NAME_LIMIT || text.contains('\0') {
        return Err(Error::invalid(format!("{field} must have 1 to {NAME_LIMIT} bytes and no NUL")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{Headers, MessageParts};

    fn parts() -> MessageParts<'static> {
        MessageParts { source: "s", id: "1", topic: "t", ..MessageParts::default() }
    }

    fn message() -> Message {
        Message::new(parts())
    }

    #[test]
    fn messages_over_a_limit_are_refused() {
        assert!(check(&[message()]).is_ok());
        let refused = |parts| assert!(check(&[Message::new(parts)]).is_err());
        let payload = vec![0; MESSAGE_LIMIT];
        refused(MessageParts { payload: Some(&payload), ..parts() });
        refused(MessageParts { id: "", ..parts() });
        refused(MessageParts { topic: "a\0b", ..parts() });
        refused(MessageParts { source: &"s".repeat(513), ..parts() });
        // Kafka needs at least 2 bytes for each of these headers.
        let tiny: Headers = (0..500_000).map(|_| ("", "")).collect();
        assert!(check(&[Message::new(MessageParts { headers: tiny.view(), ..parts() })]).is_err());
        assert!(check(&vec![message(); BATCH_LIMIT + 1]).is_err());
        let many = Message::new(MessageParts { payload: Some(&payload[..900_000]), ..parts() });
        assert!(check(&vec![many; 80]).is_err());
    }
}
