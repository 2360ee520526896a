//! Computes which transactions ended between two snapshots.

use comms_core::Error;

/// The least snapshot, in which nothing is visible.
pub(super) const OLDEST: &str = "3:3:";

/// A `pg_snapshot`: transactions below `xmax` have ended, except those in `xip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    xmax: u64,
    /// Transactions that were in progress when the snapshot was taken, ascending.
    xip: Vec<u64>,
}

impl Snapshot {
    /// Parses the text form `xmin:xmax:xip,xip`.
    ///
    /// # Errors
    /// Returns `Internal` if `text` does not have this form.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::internal(format!("{text:?} is not a snapshot"));
        let mut parts = text.split(':');
        let (Some(_), Some(xmax), Some(list), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let mut xip = list.split(',').filter(|x| !x.is_empty()).map(number).collect::<Result<Vec<_>, _>>()?;
        xip.sort_unstable();
        Ok(Self { xmax: number(xmax)?, xip })
    }

    /// Returns whether every transaction that `other` sees as ended is ended in `self`, and at least one more.
    pub(super) fn is_after(&self, other: &Self) -> bool {
        other.since(self).is_empty() && !self.since(other).is_empty()
    }

    fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.xip.binary_search(&xid).is_err()
    }

    /// Returns the transactions that have ended in `self` and not in `before`, as ascending ranges `low <= xid < high`.
    ///
    /// Transactions that were in progress in `before` come first, each as a separate range. The newer ones follow,
    /// split at those that are still in progress.
    pub(super) fn since(&self, before: &Self) -> Vec<(u64, u64)> {
        let late = before.xip.iter().filter(|xid| self.sees(**xid)).map(|xid| (*xid, xid + 1));
        let mut ranges: Vec<_> = late.collect();
        let mut low = before.xmax;
        for open in self.xip.iter().copied().filter(|xid| *xid >= before.xmax) {
            if low < open {
                ranges.push((low, open));
            }
            low = open + 1;
        }
        if low < self.xmax {
            ranges.push((low, self.xmax));
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(xmax: u64, xip: &[u64]) -> Snapshot {
        let list: Vec<_> = xip.iter().filter(|x| **x < xmax).map(ToString::to_string).collect();
        Snapshot::parse(&format!("1:{xmax}:{}", list.join(","))).unwrap()
    }

    #[test]
    fn a_text_of_another_form_is_refused() {
        for text in ["", "1", "1:2", "1:x:", "1:2:a", "1:2:3:4"] {
            assert!(Snapshot::parse(text).is_err(), "{text:?}");
        }
        assert!(Snapshot::parse("3:3:").unwrap().since(&Snapshot::parse("3:3:").unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn the_ranges_contain_exactly_the_transactions_that_ended_in_between(
            first in 1_u64..60, more in 0_u64..60,
            open in prop::collection::btree_set(1_u64..120, 0..30),
            closed in prop::collection::btree_set(1_u64..120, 0..30),
        ) {
            let open: Vec<_> = open.into_iter().collect();
            let still: Vec<_> = open.iter().copied().filter(|x| !closed.contains(x)).collect();
            let (a, b) = (snapshot(first, &open), snapshot(first + more, &still));
            let ranges = b.since(&a);
            for xid in 1..130 {
                let inside = ranges.iter().filter(|(low, high)| (*low..*high).contains(&xid)).count();
                prop_assert_eq!(inside, usize::from(b.sees(xid) && !a.sees(xid)), "{}", xid);
            }
            prop_assert_eq!(b.is_after(&a), !ranges.is_empty());
            prop_assert!(!a.is_after(&b));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "ascending");
        }
    }
}
