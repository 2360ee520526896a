//! The position that an application chooses.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

/// Where a consumer starts to read a partition for which its group has no committed offset.
///
/// The start is committed after the assignment, so that a restart does not move it. The end of a partition is before the
/// first record of an open transaction, unless `isolation.level` is `read_uncommitted`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the first record of the partition. The default.
    #[default]
    Earliest,
    /// Behind the last record. Records that are published to a new partition before it is assigned are not read.
    Latest,
    /// At the first record whose timestamp is not before this time, or behind the last record if there is none.
    Time(SystemTime),
    /// At these offsets, by topic and partition. An offset before the first record means the first record, and one behind
    /// the last record the end. Other partitions start at their first record.
    Offsets(HashMap<(Arc<str>, i32), i64>),
}
