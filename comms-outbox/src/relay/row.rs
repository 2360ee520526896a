//! Rows of the outbox, made from the columns that a backend reads.

use std::{collections::HashSet, sync::Arc};

use bytes::{Bytes, BytesMut};
use comms_core::{Error, HeadersRef, Message, MessageParts};

/// A committed row of the outbox.
#[derive(Debug)]
pub struct Row {
    pub(crate) id: i64,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Option<Bytes>,
    /// The message, or the reason why its columns do not decode.
    pub(crate) message: Result<Message, Error>,
}

/// The positions of the columns of the outbox in every statement that returns rows. A look-up by name costs a hash for
/// each value.
pub(crate) mod column {
    pub(crate) const ID: usize = 0;
    pub(crate) const SOURCE: usize = 1;
    pub(crate) const MSG_ID: usize = 2;
    pub(crate) const TOPIC: usize = 3;
    pub(crate) const KEY: usize = 4;
    pub(crate) const HEADERS: usize = 5;
    pub(crate) const PAYLOAD: usize = 6;
    /// The first column behind those of the outbox.
    #[cfg(feature = "postgres")]
    pub(crate) const NEXT: usize = 7;
}

/// The columns of a row that decode without its message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: i64,
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
}

/// Makes the rows of one read. Their messages share one buffer, and rows of a topic share its name, so that a row needs
/// no allocation.
#[derive(Debug)]
pub(crate) struct RowBuffer {
    messages: BytesMut,
    topics: HashSet<Arc<str>>,
    /// The topic of the last row, which the next one often has.
    last: Arc<str>,
}

impl RowBuffer {
    /// Creates a buffer for messages of `bytes` bytes in total. It grows if they have more.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { messages: BytesMut::with_capacity(bytes), topics: HashSet::new(), last: "".into() }
    }

    /// Makes a row at `place` with the message of `parts`. If the columns of the message do not decode, the error becomes
    /// part of the row and does not fail the read.
    pub(crate) fn row(&mut self, place: Place<'_>, parts: Result<MessageParts<'_>, Error>) -> Row {
        let message = parts.map(|parts| Message::in_buffer(parts, &mut self.messages));
        let key = match &message {
            Ok(message) => message.key_bytes(),
            Err(_) => place.key.map(Bytes::copy_from_slice),
        };
        Row { id: place.id, topic: self.topic(place.topic), key, message }
    }

    fn topic(&mut self, topic: &str) -> Arc<str> {
        if *self.last == *topic {
            return self.last.clone();
        }
        self.last = match self.topics.get(topic) {
            Some(known) => known.clone(),
            None => topic.into(),
        };
        self.topics.insert(self.last.clone());
        self.last.clone()
    }
}

/// Reads the column `headers` of a message or an event.
///
/// # Errors
/// Returns `Internal` if the bytes are not encoded headers: this row is damaged.
pub(crate) fn headers(column: &[u8]) -> Result<HeadersRef<'_>, Error> {
    let damaged = "the column headers does not decode: another program has written to this row. Restore \
                   the column, then release the parked message or retry the parked event";
    HeadersRef::decode(column).map_err(|error| error.context(damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: i64) -> Place<'static> {
        Place { id, topic: "t", key: Some(b"k") }
    }

    #[test]
    fn rows_share_the_buffer_and_the_name_of_their_topic() {
        let payload = [7; 100];
        let parts =
            MessageParts { topic: "t", key: Some(b"k"), payload: Some(&payload), ..Default::default() };
        let mut buffer = RowBuffer::new(2 * 102);
        let start = buffer.messages.as_ptr();
        let rows = [1, 2].map(|id| buffer.row(place(id), Ok(parts)));
        let messages = rows.each_ref().map(|row| row.message.as_ref().unwrap());
        let payloads = messages.map(|message| message.payload().unwrap().as_ptr());
        assert_eq!(payloads, [start.wrapping_add(2), start.wrapping_add(104)]);
        assert_eq!(messages.map(Message::parts), [parts, parts]);
        assert!(Arc::ptr_eq(&rows[0].topic, &rows[1].topic));
        assert_eq!(rows[1].key.as_deref(), Some(&b"k"[..]));
        let topics = ["u", "t", "u"].map(|topic| buffer.row(Place { topic, ..place(3) }, Ok(parts)).topic);
        assert!(Arc::ptr_eq(&topics[0], &topics[2]) && Arc::ptr_eq(&topics[1], &rows[0].topic));
    }

    #[test]
    fn a_damaged_row_keeps_its_place() {
        let damaged = headers(&[0, 0]).map(|headers| MessageParts { headers, ..Default::default() });
        let row = RowBuffer::new(0).row(place(1), damaged);
        assert_eq!((&*row.topic, row.key.as_deref()), ("t", Some(&b"k"[..])));
        let error = row.message.unwrap_err().chain().to_string();
        assert!(error.contains("the column headers does not decode"), "{error}");
    }
}
