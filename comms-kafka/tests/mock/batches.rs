//! Batch handlers: the size of batches, the order of keys, poison records and an abrupt stop.

use crate::common::{cluster::*, *};
use comms_core::{
    Delivery, Error, Message, Outcome, Scoped, batch_fn,
    clock::Clock,
    event::{Event, EventSource},
    testing::{MemoryTx, MemoryUnit},
    transactional_batch,
    transport::{BatchConfig, FailurePolicy},
    wire,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The number that no handler can apply.
const POISON: u32 = 666;

#[derive(Serialize, Deserialize)]
struct Viewed {
    page: String,
    number: u32,
}

impl Event for Viewed {
    const TYPE: &'static str = "viewed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.page.clone()
    }
}

fn viewed(page: &str, number: u32) -> Message {
    let event = Viewed { page: page.into(), number };
    EventSource::new("site", Clock::system()).message(&event).unwrap()
}

/// Adds each number to the row of its page. Fails after the poison, so that what was written before must roll back.
async fn append(views: Vec<Viewed>, mut tx: Scoped<MemoryTx>) -> Result<(), Error> {
    for view in views {
        let row = tx.read(&view.page).await?.map(|row| String::from_utf8(row.to_vec()).unwrap());
        tx.write(&view.page, format!("{}{} ", row.unwrap_or_default(), view.number)).await?;
        if view.number == POISON {
            return Err(Error::invalid("poison"));
        }
    }
    Ok(())
}

/// Returns the numbers of each page.
fn applied(unit: &MemoryUnit) -> BTreeMap<String, Vec<u32>> {
    let numbers = |row: &[u8]| {
        let text = String::from_utf8(row.to_vec()).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    unit.rows().iter().map(|(page, row)| (page.clone(), numbers(row))).collect()
}

/// Waits until the unit has `count` numbers in all.
async fn until_applied(unit: &MemoryUnit, count: usize) {
    let reached = tokio::time::timeout(LIMIT, async {
        while applied(unit).values().map(Vec::len).sum::<usize>() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "{count} numbers: {:?}", applied(unit));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_have_several_records_of_one_partition_and_keep_the_order_of_keys() {
    let cluster = Cluster::new(&[("t", 2)]);
    let messages = (0..20).flat_map(|n| (0..50).map(move |key| message("t", &format!("k{key}"), n)));
    publish(&*cluster.publisher(), messages).await;
    let (seen, sizes) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let handler = batch_fn({
        let (seen, sizes) = (seen.clone(), sizes.clone());
        move |batch: Vec<Delivery>| {
            let (seen, sizes) = (seen.clone(), sizes.clone());
            async move {
                assert!(batch.iter().all(|other| other.position.partition == batch[0].position.partition));
                tokio::time::sleep(Duration::from_millis(1)).await;
                sizes.lock().unwrap().push(batch.len());
                let results = batch.iter().map(|_| Ok(Outcome::Done)).collect();
                batch.into_iter().for_each(|delivery| seen.push(delivery));
                Ok(results)
            }
        }
    });
    let consumer = cluster.consumer().on_batch("t", handler).batch(BatchConfig::default().max_records(30));
    let consumer = Running::start(consumer.build().unwrap());
    seen.len(1_000).await;
    consumer.stop().await;
    assert!(seen.by_key().values().all(|numbers| numbers.iter().eq(&(0..20).collect::<Vec<_>>())));
    let sizes = sizes.lock().unwrap();
    assert!(sizes.iter().any(|size| *size > 1) && sizes.iter().all(|size| *size <= 30), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_of_a_batch_becomes_a_dead_letter_and_the_others_are_applied_once() {
    let (cluster, unit) = (Cluster::new(&[("viewed", 1), ("viewed.dlq", 1)]), MemoryUnit::new());
    let numbers = |page: &'static str| (0..40).map(move |number| viewed(page, number));
    let messages = numbers("a").chain([viewed("b", POISON)]).chain(numbers("b"));
    publish(&*cluster.publisher(), messages).await;
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let handler = transactional_batch(unit.clone(), {
        let sizes = sizes.clone();
        move |views: Vec<Viewed>, tx| {
            sizes.lock().unwrap().push(views.len());
            append(views, tx)
        }
    });
    let consumer = Running::start(cluster.consumer().on_batch("viewed", handler).build().unwrap());
    until_applied(&unit, 80).await;
    let dead_letters = cluster.read("viewed.dlq", 1).await;
    consumer.stop().await;
    let expected: Vec<_> = (0..40).collect();
    let pages = [("a".to_owned(), expected.clone()), ("b".to_owned(), expected)];
    assert_eq!(applied(&unit), BTreeMap::from(pages), "each number once, in order");
    assert!(dead_letters[0].headers().text(wire::DLQ_ERROR).unwrap().contains("poison"));
    assert_eq!(dead_letters[0].headers().text(wire::DLQ_OFFSET), Some("40"));
    assert!(sizes.lock().unwrap().iter().any(|size| *size > 1), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abrupt_stop_each_event_of_a_batch_is_applied_once() {
    const EVENTS: u32 = 400;
    let (cluster, unit) = (Cluster::new(&[("viewed", 2)]), MemoryUnit::new());
    let messages = (0..EVENTS).map(|number| viewed(&format!("page {}", number % 10), number));
    publish(&*cluster.publisher(), messages).await;
    let start = || {
        let handler = transactional_batch(unit.clone(), |views: Vec<Viewed>, tx| async move {
            // Long enough for a stop in the middle of a batch.
            tokio::time::sleep(Duration::from_millis(2)).await;
            append(views, tx).await
        });
        let consumer = cluster.consumer().on_batch("viewed", handler);
        let consumer = consumer.batch(BatchConfig::default().max_records(10)).commit_records(50);
        Running::start(consumer.build().unwrap())
    };
    for stop in 1..=3 {
        let running = start();
        until_applied(&unit, stop * 60).await;
        running.task.abort();
        assert!(running.task.await.unwrap_err().is_cancelled());
    }
    let last = start();
    until_applied(&unit, EVENTS as usize).await;
    last.stop().await;
    for (page, numbers) in applied(&unit) {
        let first = page.strip_prefix("page ").unwrap().parse().unwrap();
        assert!(numbers.iter().copied().eq((first..EVENTS).step_by(10)), "{page}: {numbers:?}");
    }
}

/// The policy is a function: the poison of one key stops the consumer, and that of another is a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_decides_which_records_of_a_batch_stop_the_consumer() {
    let (cluster, unit) = (Cluster::new(&[("viewed", 1), ("viewed.dlq", 1)]), MemoryUnit::new());
    publish(&*cluster.publisher(), [viewed("a", POISON), viewed("b", 1), viewed("b", POISON)]).await;
    let handler = transactional_batch(unit.clone(), append);
    let decide = |_: &Error, delivery: &Delivery| match delivery.message.key() {
        Some(b"a") => FailurePolicy::DeadLetter,
        _ => FailurePolicy::Stop,
    };
    let consumer = cluster.consumer().on_batch("viewed", handler).failure_policy_with(decide);
    let error = Running::start(consumer.build().unwrap()).ended().await.unwrap_err();
    let text = error.chain().to_string();
    assert!(text.contains("poison") && text.contains("viewed/0@2"), "{text}");
    assert_eq!(applied(&unit), BTreeMap::from([("b".to_owned(), vec![1])]));
}
