//! The shares of several workers.

use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Wake, Waker},
};

use super::room::{Room, Share, Usage};

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn room(records: u64, bytes: u64) -> Arc<Room> {
    Room::new(Usage { records, bytes })
}

fn fill(share: &mut Share, bytes: u64) -> u64 {
    let before = share_records(share);
    while share.has_room() {
        share.add(bytes);
    }
    share_records(share) - before
}

fn share_records(share: &Share) -> u64 {
    share.used().records
}

#[test]
fn workers_that_fill_up_together_get_equal_parts() {
    let room = room(900, u64::MAX);
    let mut shares: Vec<_> = (0..4).map(|_| Share::new(room.clone())).collect();
    for _ in 0..900 {
        shares.iter_mut().filter(|share| share.has_room()).for_each(|share| share.add(1));
    }
    let parts: Vec<_> = shares.iter().map(share_records).collect();
    assert!(parts.iter().all(|part| (199..=202).contains(part)), "{parts:?}: 2/9 each");
    drop(shares);
    assert_eq!(room.used(), Usage::default());
}

#[test]
fn the_bytes_bound_as_well_as_the_records() {
    let room = room(1_000, 90);
    let mut share = Share::new(room.clone());
    assert_eq!(fill(&mut share, 10), 6);
    assert_eq!(fill(&mut Share::new(room), 1_000_000), 1, "an empty worker takes one record");
}

#[test]
fn a_full_worker_is_woken_when_it_has_room_and_not_at_each_record() {
    let room = room(90, u64::MAX);
    let (mut one, mut other) = (Share::new(room.clone()), Share::new(room));
    fill(&mut one, 1);
    fill(&mut other, 1);
    let count = Arc::new(Count::default());
    assert!(!other.room_or_wake(&Waker::from(count.clone())));
    one.remove(1);
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "one record is not worth it");
    (0..20).for_each(|_| one.remove(1));
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(other.has_room());
}

proptest! {
    /// Whatever is added and removed: the room of all is the sum of the shares, and a worker that was refused is woken
    /// before it is the only one left.
    #[test]
    fn the_sum_is_kept_and_a_refused_worker_is_woken(
        steps in prop::collection::vec((0usize..3, any::<bool>(), 1u64..50), 0..200),
    ) {
        let room = room(30, 300);
        let mut shares: Vec<_> = (0..3).map(|_| (Share::new(room.clone()), Vec::new())).collect();
        for (index, adds, bytes) in steps {
            let (share, held) = &mut shares[index];
            if adds && share.has_room() {
                share.add(bytes);
                held.push(bytes);
            } else if let (false, Some(bytes)) = (adds, held.pop()) {
                share.remove(bytes);
            }
            let sum = |part: fn(&Usage) -> u64| shares.iter().map(|(share, _)| part(&share.used())).sum::<u64>();
            prop_assert_eq!(room.used().records, sum(|used| used.records));
            prop_assert_eq!(room.used().bytes, sum(|used| used.bytes));
        }
        let (mut last, _) = shares.pop().unwrap();
        let count = Arc::new(Count::default());
        let refused = !last.room_or_wake(&Waker::from(count.clone()));
        drop(shares);
        let woken = count.0.load(Ordering::SeqCst) > 0;
        prop_assert!(!refused || woken || !last.has_room());
        drop(last);
        prop_assert_eq!(room.used(), Usage::default());
    }
}
