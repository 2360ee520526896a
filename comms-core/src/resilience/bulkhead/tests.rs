#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::{sync::Arc as StdArc, time::Duration};

use futures_util::FutureExt;

use super::*;

fn bulkhead(max_concurrent: u32, max_queued: u32) -> Bulkhead {
    let config = BulkheadConfig { max_concurrent, max_queued, ..BulkheadConfig::default() };
    Bulkhead::new("b", &config).unwrap()
}

#[test]
fn the_default_registry_has_three_bulkheads() {
    let registry = BulkheadRegistry::default();
    let sizes: Vec<_> = registry.iter().map(|b| (b.snapshot().name, b.snapshot().max_concurrent)).collect();
    assert_eq!(sizes, [("batch".into(), 10), ("critical".into(), 20), ("standard".into(), 30)]);
    assert!(registry.get("other").is_none());
}

#[tokio::test]
async fn permits_are_granted_in_order_of_arrival_and_a_full_queue_rejects_at_once() {
    let bulkhead = bulkhead(1, 2);
    let permit = bulkhead.try_acquire().unwrap();
    let (mut first, mut second) = (Box::pin(bulkhead.acquire()), Box::pin(bulkhead.acquire()));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    let third = bulkhead.acquire().now_or_never().unwrap().unwrap_err();
    assert_eq!(third.guard, Guard::Bulkhead);
    assert!(bulkhead.try_acquire().is_err(), "try_acquire does not overtake the queue");
    drop(permit);
    assert!(bulkhead.try_acquire().is_err(), "the permit is granted to the first waiter");
    assert!(second.as_mut().now_or_never().is_none());
    let permit = first.await.unwrap();
    drop(permit);
    assert!(second.await.is_ok());
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test]
async fn a_cancelled_waiter_passes_its_permit_on() {
    let bulkhead = bulkhead(1, 10);
    let permit = bulkhead.try_acquire().unwrap();
    let (mut queued, mut granted) = (Box::pin(bulkhead.acquire()), Box::pin(bulkhead.acquire()));
    assert!(queued.as_mut().now_or_never().is_none());
    assert!(granted.as_mut().now_or_never().is_none());
    let mut last = Box::pin(bulkhead.acquire());
    assert!(last.as_mut().now_or_never().is_none());
    drop(queued);
    drop(permit);
    drop(granted);
    drop(last.now_or_never().expect("the permit is granted to the last waiter").unwrap());
    let counts = bulkhead.snapshot();
    assert_eq!((counts.in_use, counts.queued), (0, 0));
}

#[tokio::test]
async fn new_settings_take_effect_at_once_when_raised_and_when_lowered() {
    let bulkhead = bulkhead(1, 10);
    let permit = bulkhead.try_acquire().unwrap();
    let mut waiting = Box::pin(bulkhead.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    bulkhead.configure(&BulkheadConfig::new(2)).unwrap();
    let other = waiting.now_or_never().expect("the new permit is granted to the waiter").unwrap();
    bulkhead.configure(&BulkheadConfig::new(1)).unwrap();
    drop(other);
    assert!(bulkhead.try_acquire().is_err());
    drop(permit);
    assert!(bulkhead.try_acquire().is_ok());
    assert!(bulkhead.configure(&BulkheadConfig::new(0)).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_acquire_cancel_and_release_leak_no_permit() {
    let bulkhead = bulkhead(3, 1_000);
    let most = StdArc::new(std::sync::atomic::AtomicU32::new(0));
    let tasks: Vec<_> = (0..64u64)
        .map(|task| {
            let (bulkhead, most) = (bulkhead.clone(), most.clone());
            tokio::spawn(async move {
                for round in 0..200 {
                    let limit = Duration::from_micros((task * 7 + round) % 50);
                    let Ok(permit) = tokio::time::timeout(limit, bulkhead.acquire()).await else { continue };
                    let permit = permit.unwrap();
                    most.fetch_max(bulkhead.in_use(), std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    drop(permit);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counts = bulkhead.snapshot();
    assert_eq!((counts.in_use, counts.queued), (0, 0));
    assert!(most.load(std::sync::atomic::Ordering::Relaxed) <= 3);
}
