use std::{sync::Arc as StdArc, time::Duration};

use futures_util::FutureExt;

use super::*;

fn bulkhead(limit: u32, max_queued: u32) -> Bulkhead {
    let config = BulkheadConfig { max_concurrent: limit, max_queued, ..BulkheadConfig::default() };
    Bulkhead::new("b", &config).unwrap()
}

#[test]
fn the_compartments_have_the_sizes_of_the_requirement() {
    let compartments = BulkheadRegistry::default();
    let sizes: Vec<_> = compartments.iter().map(|b| (b.snapshot().name, b.snapshot().limit)).collect();
    assert_eq!(sizes, [("batch".into(), 10), ("critical".into(), 20), ("standard".into(), 30)]);
    assert!(compartments.get("other").is_none());
}

#[tokio::test]
async fn who_waits_is_seated_in_order_and_one_too_many_is_rejected_at_once() {
    let bulkhead = bulkhead(1, 2);
    let seat = bulkhead.try_acquire().unwrap();
    let (mut first, mut second) = (Box::pin(bulkhead.acquire()), Box::pin(bulkhead.acquire()));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    let third = bulkhead.acquire().now_or_never().unwrap().unwrap_err();
    assert_eq!(third.guard, Guard::Bulkhead);
    assert!(bulkhead.try_acquire().is_err(), "nobody passes those who wait");
    drop(seat);
    assert!(bulkhead.try_acquire().is_err(), "the seat has been given to the first");
    assert!(second.as_mut().now_or_never().is_none());
    let seat = first.await.unwrap();
    drop(seat);
    assert!(second.await.is_ok());
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test]
async fn a_wait_that_is_given_up_passes_its_seat_on() {
    let bulkhead = bulkhead(1, 10);
    let seat = bulkhead.try_acquire().unwrap();
    let (mut gone, mut seated_then_gone) = (Box::pin(bulkhead.acquire()), Box::pin(bulkhead.acquire()));
    assert!(gone.as_mut().now_or_never().is_none());
    assert!(seated_then_gone.as_mut().now_or_never().is_none());
    let mut last = Box::pin(bulkhead.acquire());
    assert!(last.as_mut().now_or_never().is_none());
    drop(gone);
    drop(seat);
    drop(seated_then_gone);
    drop(last.now_or_never().expect("the seat came to the last").unwrap());
    let counts = bulkhead.snapshot();
    assert_eq!((counts.in_use, counts.waiting), (0, 0));
}

#[tokio::test]
async fn a_new_size_holds_at_once_in_both_directions() {
    let bulkhead = bulkhead(1, 10);
    let seat = bulkhead.try_acquire().unwrap();
    let mut waits = Box::pin(bulkhead.acquire());
    assert!(waits.as_mut().now_or_never().is_none());
    bulkhead.configure(&BulkheadConfig::new(2)).unwrap();
    let other = waits.now_or_never().expect("the new seat came to who waited").unwrap();
    bulkhead.configure(&BulkheadConfig::new(1)).unwrap();
    drop(other);
    assert!(bulkhead.try_acquire().is_err());
    drop(seat);
    assert!(bulkhead.try_acquire().is_ok());
    assert!(bulkhead.configure(&BulkheadConfig::new(0)).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_come_wait_and_go_leave_no_seat_taken() {
    let bulkhead = bulkhead(3, 1_000);
    let most = StdArc::new(std::sync::atomic::AtomicU32::new(0));
    let tasks: Vec<_> = (0..64u64)
        .map(|task| {
            let (bulkhead, most) = (bulkhead.clone(), most.clone());
            tokio::spawn(async move {
                for round in 0..200 {
                    let patience = Duration::from_micros((task * 7 + round) % 50);
                    let Ok(seat) = tokio::time::timeout(patience, bulkhead.acquire()).await else { continue };
                    let seat = seat.unwrap();
                    most.fetch_max(bulkhead.in_use(), std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    drop(seat);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counts = bulkhead.snapshot();
    assert_eq!((counts.in_use, counts.waiting), (0, 0));
    assert!(most.load(std::sync::atomic::Ordering::Relaxed) <= 3);
}
