//! Revocations and shutdown with handlers that block their thread, hang, or finish in any order.

use crate::common::{cluster::*, *};
use comms_core::{Error, clock::Clock};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

const SHORT: Duration = Duration::from_millis(200);

/// Waits until `offset` is committed.
async fn until_committed(cluster: &Cluster, offset: i64) {
    until(&format!("{offset} is committed"), || cluster.committed().0 == offset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_delays_no_other_partition_and_not_the_leave() {
    let cluster = Cluster::new(&[("t", 1), ("u", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..3).map(|n| message("t", "t", n))).await;
    let (seen, (open, opened)) = (Seen::default(), mpsc::channel::<()>());
    let (opened, blocked) = (Arc::new(Mutex::new(opened)), Seen::default());
    let handler = seen.handler_with({
        let blocked = blocked.clone();
        move |delivery| {
            let (opened, blocked) = (opened.clone(), blocked.clone());
            async move {
                if delivery.message.id() == "t-1" {
                    blocked.push(delivery);
                    opened.lock().unwrap().recv().unwrap();
                }
                Ok(())
            }
        }
    });
    let consumer = cluster.consumer().on("t", handler.clone()).on("u", handler).drain(SHORT);
    let consumer = Running::start(consumer.build().unwrap());
    blocked.len(1).await;
    publish(&*publisher, (0..10).map(|n| message("u", "u", n))).await;
    seen.len(11).await;
    // The handler still blocks.
    consumer.stop().await;

    let again = Seen::default();
    let second = cluster.consumer().on("t", again.handler()).on("u", again.handler());
    let second = Running::start(second.build().unwrap());
    again.len(2).await;
    publish(&*publisher, [message("u", "u", 10)]).await;
    again.len(3).await;
    assert_eq!(again.by_key(), [("t".to_owned(), vec![1, 2]), ("u".to_owned(), vec![10])].into());
    until_committed(&cluster, 3).await;
    // The late end of the handler commits nothing, and no later record of its chunk is handled.
    open.send(()).unwrap();
    seen.len(12).await;
    second.stop().await;
    assert_eq!(cluster.committed().0, 3);
    assert_eq!(seen.by_key()["t"], [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_for_ever_does_not_keep_its_partition() {
    let cluster = Cluster::new(&[("t", 2)]);
    let publisher = cluster.publisher();
    let (attempted, seen) = (Seen::default(), Seen::default());
    let hanging = {
        let attempted = attempted.clone();
        seen.handler_with(move |delivery| {
            attempted.push(delivery);
            std::future::pending()
        })
    };
    publish(&*publisher, (0..20).map(|n| message("t", &format!("k{n}"), n))).await;
    let first = Running::start(cluster.consumer().on("t", hanging).drain(SHORT).build().unwrap());
    attempted.len(20).await;
    let moved = Seen::default();
    let second = Running::start(cluster.consumer().on("t", moved.handler()).build().unwrap());
    moved.len(1).await;
    first.stop().await;
    moved.until("every record", |seen| distinct(seen).len() == 20).await;
    second.stop().await;
    assert_eq!(moved.lock().len(), 20, "each record once: nothing was committed for the first member");
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_records_are_committed_by_their_number() {
    let cluster = Cluster::new(&[("t", 1)]);
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler());
    let consumer = consumer.commit_interval(Duration::from_secs(3_600)).commit_records(10);
    let consumer = Running::start(consumer.build().unwrap());
    publish(&*cluster.publisher(), (0..10).map(|n| message("t", "k", n))).await;
    until_committed(&cluster, 10).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_passes_an_unfinished_record_when_handlers_finish_in_any_order() {
    const RECORDS: usize = 2_000;
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), (0..RECORDS).map(|n| message("t", &format!("k{}", n % 500), n))).await;
    let (seen, finished) = (Seen::default(), Arc::new(Mutex::new(BTreeSet::new())));
    let handler = seen.handler_with({
        let finished = finished.clone();
        move |delivery| {
            let finished = finished.clone();
            async move {
                let [wait, failing] = Clock::system().random();
                tokio::time::sleep(Duration::from_millis(u64::from(wait) / 2)).await;
                if failing < 64 {
                    return Err(Error::conflict("once more"));
                }
                finished.lock().unwrap().insert(delivery.position.offset.unwrap());
                Ok(())
            }
        }
    });
    let attempts = attempts(1_000, Duration::from_millis(1));
    let consumer = cluster.consumer().on("t", handler).attempts(attempts).commit_records(1);
    let consumer = Running::start(consumer.build().unwrap());
    let (mut offset, mut checks) = (0, 0);
    while offset < RECORDS as i64 {
        offset = cluster.committed().0;
        let finished = finished.lock().unwrap();
        let open = (0..offset).find(|offset| !finished.contains(offset));
        assert_eq!(open, None, "{offset} is committed");
        checks += 1;
    }
    consumer.stop().await;
    assert!(checks > 1);
}

fn distinct(seen: &[comms_core::Delivery]) -> BTreeSet<String> {
    seen.iter().map(|delivery| delivery.message.id().to_owned()).collect()
}
