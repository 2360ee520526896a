//! The finished records beyond a committed offset, as text in the metadata of the commit.
//!
//! A slow key keeps the committed offset back while records of other keys are finished. Without this list they would be
//! handled again after a crash, or by the next owner of the partition. A consumer that is given the partition reads the list
//! with the committed offset, and skips these records. Clients of other programs ignore the metadata.

mod codec;

use std::{collections::VecDeque, ops::Range};

use codec::Format;

/// The longest text of a list, without its head. A broker refuses metadata of more than `offset.metadata.max.bytes` (4,096 by
/// default).
const MAX_TEXT: usize = 3_000;
/// The first bytes of the metadata, which the texts of other programs do not have.
const HEAD: &str = "comms1:";

/// Offsets of finished records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Finished {
    /// In increasing order.
    ranges: VecDeque<Range<i64>>,
    /// The offset with which the list was committed, or one more than the last offset that [`take`](Self::take) was asked for.
    next: i64,
}

/// Returns the metadata of a commit of `offset`: the text of a list of the finished records beyond it. It names the offset,
/// because a tool may copy the metadata to another offset or to another cluster.
pub(super) fn metadata(offset: i64, list: &str) -> String {
    if list.is_empty() { String::new() } else { format!("{HEAD}{offset}:{list}") }
}

impl Finished {
    /// Collects the finished ones of `records` (offset, and whether the record is finished), in the order of delivery.
    ///
    /// A finished range goes on over offsets without a record. At an offset that does not increase the log was truncated, or
    /// the topic was created again: that offset and later ones have other records now, so that none of them is listed.
    pub(super) fn collect(records: impl Iterator<Item = (i64, bool)>) -> Self {
        let (mut ranges, mut last) = (VecDeque::<Range<i64>>::new(), None);
        for (offset, is_finished) in records {
            let (previous, was_finished) = last.replace((offset, is_finished)).unwrap_or((-1, false));
            if offset <= previous {
                ranges = ranges.into_iter().map(|range| range.start..range.end.min(offset)).collect();
                ranges.retain(|range| !range.is_empty());
                break;
            }
            match ranges.back_mut().filter(|_| is_finished && was_finished) {
                Some(range) => range.end = offset + 1,
                None if is_finished => ranges.push_back(offset..offset + 1),
                None => {}
            }
        }
        Self { ranges, next: 0 }
    }

    /// Adds what is left of `other`: the offsets that it was not asked for yet.
    pub(super) fn append(&mut self, other: &Self) {
        let from = other.next.max(self.end());
        let left = other.ranges.iter().map(|range| range.start.max(from)..range.end);
        self.ranges.extend(left.filter(|range| !range.is_empty()));
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

    /// Reads the metadata that was committed with the offset `committed`. Metadata of another program, or of another offset,
    /// is an empty list.
    pub(super) fn of_metadata(metadata: &str, committed: i64) -> Self {
        let rest = metadata.strip_prefix(HEAD).and_then(|rest| rest.split_once(':'));
        let list = rest.filter(|(offset, _)| offset.parse() == Ok(committed)).map(|(_, list)| list);
        let ranges = list.and_then(codec::decode).unwrap_or_default().into_iter();
        let ranges = ranges.map(|range| range.start.max(committed)..range.end);
        Self { ranges: ranges.filter(|range| !range.is_empty()).collect(), next: committed }
    }

    /// Returns whether the record at `offset` is finished. Offsets are asked for in increasing order: forgets all that are
    /// smaller. Forgets the whole list at an offset that does not increase, or lies before the committed one: the log was
    /// truncated, and has other records now.
    pub(super) fn take(&mut self, offset: i64) -> bool {
        if offset < self.next {
            self.ranges.clear();
        }
        self.next = offset + 1;
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
