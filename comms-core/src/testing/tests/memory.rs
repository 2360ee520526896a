//! Tests of the memory backends beyond their traits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    Error, ErrorKind, Message, MessageParts, Outbox, Publisher, UnitOfWork, in_transaction,
    testing::{MemoryPublisher, MemoryTx, MemoryUnit},
};

#[tokio::test(start_paused = true)]
async fn deadlocked_transactions_fail_with_conflict() {
    let unit = MemoryUnit::new();
    let (mut one, mut two) = (unit.begin().await.unwrap(), unit.begin().await.unwrap());
    one.write("a", "1").await.unwrap();
    two.write("b", "2").await.unwrap();
    let (first, second) = tokio::join!(one.write("b", "1"), two.write("a", "2"));
    let error = first.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.to_string().contains("deadlock"), "{error}");
    assert!(second.is_err());
}

#[tokio::test(start_paused = true)]
async fn concurrent_transactions_lose_no_update_of_a_row() {
    let unit = MemoryUnit::new();
    let spawn_increment = |_| {
        let unit = unit.clone();
        let increment = async |mut tx: crate::Scoped<MemoryTx>| {
            let count = tx.read("n").await?.map_or(0, |bytes| bytes.len());
            tokio::task::yield_now().await;
            tx.write("n", vec![0; count + 1]).await
        };
        tokio::spawn(async move { in_transaction(&unit, increment).await })
    };
    for task in (0..50).map(spawn_increment).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(unit.row("n").unwrap().len(), 50);
    in_transaction(&unit, async |mut tx| tx.delete("n").await).await.unwrap();
    assert!(unit.rows().is_empty());
}

#[tokio::test]
async fn a_commit_fails_as_configured_and_a_foreign_transaction_is_refused() {
    let unit = MemoryUnit::new();
    unit.fail_next_commit(Error::indeterminate("connection reset"));
    let write = async || in_transaction(&unit, async |mut tx| tx.write("a", "1").await).await;
    assert_eq!(write().await.unwrap_err().kind, ErrorKind::Indeterminate);
    assert!(unit.row("a").is_none());
    write().await.unwrap();
    let mut foreign = MemoryUnit::new().begin().await.unwrap();
    assert_eq!(unit.enqueue(&mut foreign, &[]).await.unwrap_err().kind, ErrorKind::Fatal);
}

#[tokio::test(start_paused = true)]
async fn a_parked_publisher_withholds_acknowledgements_and_a_broken_one_is_fatal() {
    let publisher = MemoryPublisher::new();
    let message = |id| Message::new(MessageParts { source: "s", id, topic: "t", ..MessageParts::default() });
    publisher.park();
    let acknowledged = Arc::new(AtomicBool::new(false));
    let (acks, flag) = (publisher.enqueue(&mut [message("1")].into()), acknowledged.clone());
    let waiting = tokio::spawn(async move {
        let results = acks.await;
        flag.store(true, Ordering::SeqCst);
        results
    });
    assert_eq!(publisher.flush().await.unwrap_err().kind, ErrorKind::Indeterminate);
    assert!(!acknowledged.load(Ordering::SeqCst) && publisher.in_flight() == 1);
    publisher.release();
    assert!(waiting.await.unwrap()[0].is_ok());
    publisher.flush().await.unwrap();
    publisher.break_down("fenced");
    assert_eq!(publisher.ready().await.unwrap_err().kind, ErrorKind::Fatal);
    let results = publisher.enqueue(&mut [message("2")].into()).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Fatal);
    assert_eq!(publisher.messages().len(), 1);
}
