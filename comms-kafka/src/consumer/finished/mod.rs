//! The finished records beyond a committed offset, as text in the metadata of the commit.
//!
//! A slow key keeps the committed offset back while records of other keys are finished. Without this list they would be
//! handled again after a crash, or by the next owner of the partition. A consumer that is given the partition reads the list
//! with the committed offset, and skips these records. Clients of other programs ignore the metadata.

mod codec;

use std::{collections::VecDeque, ops::Range};

use codec::Format;

/// The longest text. A broker refuses more than `offset.metadata.max.bytes` (4,096 by default).
const MAX_TEXT: usize = 3_000;

/// Offsets of finished records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// In increasing order.
    ranges: VecDeque<Range<i64>>,
    /// The offset with which the list was committed.
    committed: i64,
}

impl Finished {
    /// Collects the finished ones of `records` (offset, and whether the record is finished), in the order of delivery.
    ///
    /// A finished range goes on over offsets without a record. Stops at an offset that does not increase: the topic was
    /// created again.
    pub(super) fn collect(records: impl Iterator<Item = (i64, bool)>) -> Self {
        let (mut ranges, mut last) = (VecDeque::<Range<i64>>::new(), None);
        for (offset, is_finished) in records {
            let (previous, was_finished) = last.replace((offset, is_finished)).unwrap_or((-1, false));
            if offset <= previous {
                break;
            }
            match ranges.back_mut().filter(|_| is_finished && was_finished) {
                Some(range) => range.end = offset + 1,
                None if is_finished => ranges.push_back(offset..offset + 1),
                None => {}
            }
        }
        Self { ranges, committed: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the ranges as text of at most [`MAX_TEXT`] bytes, or an empty text if there are none. If they do not fit, the
    /// last ones are left out: those records are handled again.
    pub(super) fn to_text(&self) -> String {
        let texts = [Format::Runs, Format::Bits].map(|format| codec::encode(&self.ranges, format, MAX_TEXT));
        let longest =
            texts.into_iter().max_by_key(|(covered, text)| (*covered, std::cmp::Reverse(text.len())));
        longest.map(|(_, text)| text).unwrap_or_default()
    }

    /// Reads the text that was committed with the offset `committed`. A text of another program is an empty list.
    pub(super) fn of_text(text: &str, committed: i64) -> Self {
        let ranges = codec::decode(text).unwrap_or_default().into_iter();
        let ranges = ranges.map(|range| range.start.max(committed)..range.end);
        Self { ranges: ranges.filter(|range| !range.is_empty()).collect(), committed }
    }

    /// Returns whether the record at `offset` is finished. Offsets are asked for in increasing order: forgets all that are
    /// smaller. Forgets the whole list at an offset before the committed one: the log was truncated, and has
    /// other records now.
    pub(super) fn take(&mut self, offset: i64) -> bool {
        if offset < self.committed {
            self.ranges.clear();
        }
        while self.ranges.front().is_some_and(|range| range.end <= offset) {
            self.ranges.pop_front();
        }
        self.ranges.front().is_some_and(|range| range.contains(&offset))
    }

    /// Returns one more than the largest offset of the list; 0 for an empty list.
    pub(super) fn end(&self) -> i64 {
        self.ranges.back().map_or(0, |range| range.end)
    }

    /// Returns the number of offsets in the list.
    pub(super) fn count(&self) -> i64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests;
