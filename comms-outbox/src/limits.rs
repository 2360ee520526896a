//! What may enter the outbox: checked before anything is written.

use comms_core::{Error, Message};

/// The largest message, in bytes of key, headers, payload and names: Kafka's default limit of a record
/// (1,048,588 bytes) less room for its framing, so that what was committed can also be sent.
pub const MESSAGE_LIMIT: usize = 1_000_000;
/// The most messages of one call.
pub const BATCH_LIMIT: usize = 10_000;
/// The most bytes of one call.
const BATCH_BYTES: usize = 64 * 1024 * 1024;
/// The longest source, id or topic, in bytes: they stand in index rows.
const NAME_LIMIT: usize = 512;

/// Refuses what could not be stored, or stored and never sent.
pub(crate) fn check(messages: &[Message]) -> Result<(), Error> {
    if messages.len() > BATCH_LIMIT {
        let count = messages.len();
        return Err(Error::invalid(format!("{count} messages in one call: enqueue at most {BATCH_LIMIT}")));
    }
    let total: usize = messages.iter().map(Message::size).sum();
    if total > BATCH_BYTES {
        return Err(Error::invalid(format!("{total} bytes in one call: enqueue at most {BATCH_BYTES}")));
    }
    messages.iter().try_for_each(check_one)
}

fn check_one(message: &Message) -> Result<(), Error> {
    let size = message.size();
    if size > MESSAGE_LIMIT {
        let id = &message.id;
        return Err(Error::invalid(format!(
            "message {id} has {size} bytes, the limit is {MESSAGE_LIMIT}: store what is large elsewhere and \
             send a reference"
        )));
    }
    check_name("source", &message.source)?;
    check_name("id", &message.id)?;
    check_name("destination", &message.topic)
}

fn check_name(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > NAME_LIMIT || text.contains('\0') {
        return Err(Error::invalid(format!("a message's {what} has 1 to {NAME_LIMIT} bytes and no NUL")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use comms_core::Headers;

    fn message() -> Message {
        Message {
            source: "s".into(),
            id: "1".into(),
            topic: "t".into(),
            key: None,
            headers: Headers::new(),
            payload: None,
        }
    }

    #[test]
    fn refuses_what_could_not_be_sent() {
        assert!(check(&[message()]).is_ok());
        let large = Message { payload: Some(Bytes::from(vec![0; MESSAGE_LIMIT])), ..message() };
        assert!(check(&[large]).is_err());
        assert!(check(&[Message { id: "".into(), ..message() }]).is_err());
        assert!(check(&[Message { topic: "a\0b".into(), ..message() }]).is_err());
        assert!(check(&[Message { source: "s".repeat(513).into(), ..message() }]).is_err());
        assert!(check(&vec![message(); BATCH_LIMIT + 1]).is_err());
        let many = Message { payload: Some(Bytes::from(vec![0; 900_000])), ..message() };
        assert!(check(&vec![many; 80]).is_err());
    }
}
