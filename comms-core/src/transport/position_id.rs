//! The id of a record without an identity.

use itoa::Buffer;

/// Writes the id of a record without an identity: its position, as `topic-partition-offset-timestamp`.
///
/// No two records of a topic get the same id, because an inbox drops a record whose id it has seen. The timestamp is part
/// of the id because the offsets of a topic that is deleted and created again begin at 0.
///
/// One writer for the records of a source keeps what successive records have in common: writing the whole text for each
/// record would cost several times as much.
///
/// ```
/// use comms_core::transport::PositionId;
/// let mut id = PositionId::default();
/// assert_eq!(id.write("orders", 3, 512, Some(1_700_000_000_000)), "orders-3-512-1700000000000");
/// assert_eq!(id.write("orders", 3, 513, None), "orders-3-513");
/// ```
#[derive(Debug, Default)]
pub struct PositionId {
    text: String,
    /// The length of the topic at the beginning of `text`.
    topic: usize,
    partition: i32,
    /// The length of `topic-partition-`. 0 at first.
    prefix: usize,
}

impl PositionId {
    /// Returns the id of a record. `timestamp`: milliseconds since 1970. A record without a timestamp has the id
    /// `topic-partition-offset`.
    pub fn write(&mut self, topic: &str, partition: i32, offset: i64, timestamp: Option<i64>) -> &str {
        let is_same = self.prefix > 0
            && self.partition == partition
            && self.text.as_bytes().get(..self.topic) == Some(topic.as_bytes());
        if !is_same {
            self.text.clear();
            self.text.push_str(topic);
            self.text.push('-');
            self.text.push_str(Buffer::new().format(partition));
            self.text.push('-');
            (self.topic, self.partition, self.prefix) = (topic.len(), partition, self.text.len());
        }
        self.text.truncate(self.prefix);
        self.text.push_str(Buffer::new().format(offset));
        if let Some(timestamp) = timestamp {
            self.text.push('-');
            self.text.push_str(Buffer::new().format(timestamp));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_has_all_numbers_of_the_position() {
        let mut id = PositionId::default();
        for (topic, partition, offset, timestamp, expected) in [
            ("orders", 3, 0, None, "orders-3-0"),
            ("orders", 3, 512, Some(1_700_000_000_000), "orders-3-512-1700000000000"),
            ("orders", 4, 512, Some(-7), "orders-4-512--7"),
            ("orders-4", 4, 512, None, "orders-4-4-512"),
            ("orders", 4, i64::MAX, None, "orders-4-9223372036854775807"),
            ("", 4, 1, None, "-4-1"),
        ] {
            assert_eq!(id.write(topic, partition, offset, timestamp), expected);
        }
    }
}
