//! How old the first unfinished record of a partition is.

use std::collections::VecDeque;

/// The number of records between two entries.
const STEP: u32 = 64;

/// The timestamps of some of the delivered records: one of [`STEP`], because a timestamp per record would cost memory
/// for nothing but a gauge.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// Offset and timestamp, milliseconds since 1970, in the order of delivery.
    entries: VecDeque<(i64, i64)>,
    since: u32,
}

impl Ages {
    /// Records the delivery of the record at `offset`.
    pub(super) fn deliver(&mut self, offset: i64, timestamp: Option<i64>) {
        if self.since == 0
            && let Some(timestamp) = timestamp
        {
            self.entries.push_back((offset, timestamp));
        }
        self.since = (self.since + 1) % STEP;
    }

    /// Returns the timestamp of the first unfinished record, whose offset is `open`, or of a record up to [`STEP`]
    /// records before it. `None` if no record is unfinished or the timestamp is not known. Forgets earlier records.
    pub(super) fn oldest(&mut self, open: Option<i64>) -> Option<i64> {
        let Some(open) = open else {
            self.entries.clear();
            self.since = 0;
            return None;
        };
        while self.entries.get(1).is_some_and(|(offset, _)| *offset <= open) {
            self.entries.pop_front();
        }
        self.entries.front().map(|(_, timestamp)| *timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_first_unfinished_record() {
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(None), None);
        (0..200).for_each(|offset| ages.deliver(offset, Some(1_000 + offset)));
        assert_eq!(ages.oldest(Some(0)), Some(1_000));
        assert_eq!(ages.oldest(Some(63)), Some(1_000));
        assert_eq!(ages.oldest(Some(64)), Some(1_064));
        assert_eq!(ages.oldest(Some(199)), Some(1_192));
        assert_eq!(ages.entries.len(), 1);
        assert_eq!(ages.oldest(None), None, "all are finished");
        ages.deliver(200, Some(7));
        assert_eq!(ages.oldest(Some(200)), Some(7), "the first record behind a finished one is recorded");
        ages.deliver(201, None);
        assert_eq!(ages.oldest(Some(201)), Some(7));
    }
}
