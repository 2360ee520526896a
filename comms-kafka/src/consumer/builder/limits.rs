//! The bounds and intervals of a consumer.

use std::time::Duration;

use super::ConsumerBuilder;

/// The bounds and intervals of a consumer that its workers do not know.
#[derive(Debug, Clone)]
pub(in crate::consumer) struct Limits {
    pub(in crate::consumer) gap: usize,
    pub(in crate::consumer) commit_interval: Duration,
    pub(in crate::consumer) commit_records: u64,
    pub(in crate::consumer) prefetch_bytes: usize,
    pub(in crate::consumer) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gap: 100_000,
            commit_interval: Duration::from_secs(1),
            commit_records: 1_000,
            prefetch_bytes: 32 * 1024 * 1024,
            drain: Duration::from_secs(1),
        }
    }
}

/// Bounds and intervals.
impl ConsumerBuilder {
    /// Sets the largest number of handlers that run at the same time. Default 4,096.
    pub fn concurrency(self, handlers: usize) -> Self {
        Self { budget: self.budget.concurrency(handlers), ..self }
    }

    /// Sets the largest number of records that are received and not finished, in all partitions together: those that
    /// run, and those that wait for an earlier record of their key. Default 32,768.
    ///
    /// A partition may use at most twice the room that is free, so that a slow partition leaves room for the others. In
    /// addition to the bound, each partition may have one chunk of up to 256 records and 256 KiB in hand.
    ///
    /// A small bound costs concurrency: the client returns long runs of records with few keys.
    pub fn buffer_records(self, records: u64) -> Self {
        Self { budget: self.budget.records(records), ..self }
    }

    /// Sets the largest number of bytes of the records that are received and not finished. Default 64 MiB.
    ///
    /// One record of each partition may exceed the bound. The client prefetches records in addition
    /// ([`prefetch_bytes`](Self::prefetch_bytes)).
    pub fn buffer_bytes(self, bytes: u64) -> Self {
        Self { budget: self.budget.bytes(bytes), ..self }
    }

    /// Sets the memory for records that the client has fetched and no handler has received, in bytes of payload.
    /// Default 32 MiB. The memory that the client allocates for small records is about three times as much: a consumer of
    /// records of 200 bytes in 6 partitions needs 130 MiB in all.
    ///
    /// The partitions of all subscribed topics share it, and each gets at least 1 MiB. The number of partitions is read
    /// when the consumer starts. The client exceeds the bound of a partition by one response (`fetch.message.max.bytes`,
    /// default 1 MiB). If [`KafkaConfig::librdkafka`](crate::KafkaConfig::librdkafka) has `queued.max.messages.kbytes`,
    /// that is the bound of each partition.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.limits.prefetch_bytes = bytes;
        self
    }

    /// Sets the largest number of records of a partition that are delivered from the first unfinished record on. At the
    /// bound no further records of the partition are received until that record is finished. Default 100,000.
    ///
    /// The bound limits how many records a stuck record causes to be handled again after a crash.
    pub fn max_gap(mut self, records: usize) -> Self {
        self.limits.gap = records;
        self
    }

    /// Sets the longest time between commits. Default 1 s.
    ///
    /// Records that are handled but not committed are handled again after a crash.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.limits.commit_interval = interval;
        self
    }

    /// Sets the number of finished records, over all partitions, after which they are committed. Default 1,000.
    ///
    /// There is one commit at a time. A consumer that finishes more records during a commit commits again as soon as
    /// the broker has answered.
    pub fn commit_records(mut self, records: u64) -> Self {
        self.limits.commit_records = records;
        self
    }

    /// Sets the longest time for running attempts to finish, at shutdown and when partitions are revoked. Default 1 s.
    /// It must be below `max.poll.interval.ms`.
    ///
    /// While partitions are revoked, the client receives no records for the other partitions of this member: a long
    /// drain delays them too.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.limits.drain = drain;
        self
    }
}
