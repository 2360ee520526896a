//! Records as they are received: reads the records of the client into messages that share buffers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rdkafka::{
    Message as _,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};

use super::POSITION_SOURCE;
use comms_core::{
    Headers, Message, MessageParts, Position, clock::Clock, telemetry::LogLimit, transport::PositionId, wire,
};

/// The size of a buffer that messages share, bytes. A larger message has a buffer of its own.
///
/// A buffer is freed when the last of its messages is dropped. So this is also the most memory that one message keeps
/// alive in addition to its own.
const BUFFER: usize = 16 * 1024;

/// A record that no handler has received yet.
pub(crate) struct Incoming {
    pub(crate) message: Message,
    pub(crate) offset: i64,
    /// Milliseconds since 1970, if the record has a timestamp.
    pub(crate) timestamp: Option<i64>,
}

impl Incoming {
    /// Returns the position of the record in `partition`.
    pub(crate) fn position(&self, partition: i32) -> Position {
        Position::at(partition, self.offset).with_timestamp(self.timestamp)
    }
}

/// Reads records into messages. A record costs no allocation of its own.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: BytesMut,
    headers: Headers,
    id: PositionId,
}

impl Reader {
    /// Reads `record` of `topic`.
    pub(crate) fn read(&mut self, record: &BorrowedMessage<'_>, topic: &str) -> Incoming {
        let (partition, offset) = (record.partition(), record.offset());
        let timestamp = record.timestamp().to_millis();
        self.headers.clear();
        let raw = record.headers();
        let identity = raw.and_then(|raw| read_headers(raw, &mut self.headers));
        let (source, id) = match identity {
            Some(identity) => identity,
            None => (POSITION_SOURCE, self.id.write(topic, partition, offset, timestamp)),
        };
        let (key, payload) = (record.key(), record.payload());
        let headers = self.headers.view();
        let parts = MessageParts { source, id, topic, key, headers, payload };
        let size = parts.memory();
        if self.buffer.capacity() < size {
            self.buffer = BytesMut::with_capacity(size.max(BUFFER));
        }
        Incoming { message: Message::in_buffer(parts, &mut self.buffer), offset, timestamp }
    }
}

/// Copies `raw` to `headers`, and returns the source and the id of the record. If the record has both, the headers that
/// contain them are left out. Of a repeated header the last value counts.
fn read_headers<'a>(raw: &'a BorrowedHeaders, headers: &mut Headers) -> Option<(&'a str, &'a str)> {
    // rdkafka panics on a header name that is not UTF-8. One such record must not stop the consumer.
    let copied = catch_unwind(AssertUnwindSafe(|| {
        copy(
            headers,
            (0..).map_while(|index| raw.try_get(index)).map(|h| (h.key, h.value.unwrap_or_default())),
        )
    }));
    copied.unwrap_or_else(|_| {
        headers.clear();
        copy(headers, readable(raw).into_iter())
    })
}

/// A producer chooses how many of its records have such headers.
static DROPPED_LOG: LogLimit = LogLimit::new();

/// Returns the headers whose name is UTF-8.
fn readable(raw: &BorrowedHeaders) -> Vec<(&str, &[u8])> {
    let header = |index| catch_unwind(AssertUnwindSafe(|| raw.try_get(index)));
    let headers: Vec<_> = (0..raw.count()).map(header).collect();
    let dropped = headers.iter().filter(|header| header.is_err()).count();
    if let Some(suppressed) = DROPPED_LOG.admit(&Clock::system()) {
        tracing::warn!(dropped, suppressed, "dropped headers of a record because their names are not UTF-8");
    }
    headers
        .into_iter()
        .filter_map(Result::ok)
        .flatten()
        .map(|h| (h.key, h.value.unwrap_or_default()))
        .collect()
}

fn copy<'a>(
    headers: &mut Headers,
    source: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
) -> Option<(&'a str, &'a str)> {
    let (mut event_source, mut id) = (None, None);
    for (name, value) in source.clone() {
        match name {
            wire::CE_SOURCE => event_source = Some(text(value)),
            wire::CE_ID => id = Some(text(value)),
            _ => headers.append(name, value),
        }
    }
    let identity = event_source.flatten().zip(id.flatten());
    if identity.is_none() && (event_source.is_some() || id.is_some()) {
        // An incomplete identity is none. Its headers stay headers, in their order.
        headers.clear();
        source.for_each(|(name, value)| headers.append(name, value));
    }
    identity
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(source: &[(&'static str, &'static str)]) -> (Option<(&'static str, &'static str)>, String) {
        let mut headers = Headers::new();
        let identity = copy(&mut headers, source.iter().map(|(name, value)| (*name, value.as_bytes())));
        let shown: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(v))).collect();
        (identity, shown.join(","))
    }

    #[test]
    fn a_complete_identity_is_taken_out_of_the_headers() {
        let headers = [("b", "2"), ("ce_id", "old"), ("ce_source", "shop"), ("a", "1"), ("ce_id", "7")];
        assert_eq!(copied(&headers), (Some(("shop", "7")), "b=2,a=1".to_owned()));
    }

    #[test]
    fn the_headers_of_an_incomplete_identity_stay() {
        for headers in [
            &[("b", "2"), ("ce_id", "7"), ("a", "1")][..],
            &[("ce_source", ""), ("ce_id", "7")],
            &[("ce_source", "shop"), ("ce_id", "7"), ("ce_id", "")],
        ] {
            let all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(copied(headers), (None, all.join(",")));
        }
        assert_eq!(copied(&[("a", "1")]), (None, "a=1".to_owned()));
    }
}
