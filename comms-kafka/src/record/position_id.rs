//! The id of a record without an identity.

use itoa::Buffer;

/// Writes ids of the form `topic-partition-offset-timestamp`, and keeps what successive records have in common: writing
/// the whole text for each record would cost several times as much.
///
/// No two records of a topic may get the same id, because an inbox drops a record whose id it has seen.
#[derive(Debug, Default)]
pub(super) struct PositionId {
    text: String,
    /// The length of the topic at the beginning of `text`.
    topic: usize,
    partition: i32,
    /// The length of `topic-partition-`. 0 at first.
    prefix: usize,
}

impl PositionId {
    /// Returns the id of a record. A record without a timestamp has the id `topic-partition-offset`.
    pub(super) fn write(&mut self, topic: &str, partition: i32, offset: i64, timestamp: Option<i64>) -> &str {
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
