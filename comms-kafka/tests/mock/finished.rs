//! Records that were finished beyond the committed offset: the next owner of the partition skips them.

use crate::common::{cluster::*, *};
use comms_core::Delivery;
use comms_kafka::{ConsumerBuilder, Start};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{future::pending, time::Duration};

const SHORT: Duration = Duration::from_millis(100);

/// A consumer whose handler hangs for the message `slow-0`, and records the others in `seen`.
fn hangs_at_the_first(cluster: &Cluster, seen: &Seen) -> ConsumerBuilder {
    let handler = seen.handler_with(|delivery: Delivery| async move {
        match delivery.message.id() {
            "slow-0" => pending().await,
            _ => Ok(()),
        }
    });
    cluster.consumer().on("t", handler).drain(SHORT).commit_interval(SHORT)
}

/// Publishes `slow-0` and 49 records of other keys to a topic with one partition.
async fn cluster_with_records() -> Cluster {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), [message("t", "slow", 0)]).await;
    publish(&*cluster.publisher(), (1..50).map(|n| message("t", &format!("k{}", n % 7), n))).await;
    cluster
}

/// Runs a consumer until it has seen `n` records and the one that is published last.
async fn seen_by_the_next_owner(cluster: &Cluster, n: usize) -> Seen {
    let seen = Seen::default();
    let next = Running::start(cluster.consumer().on("t", seen.handler()).build().unwrap());
    publish(&*cluster.publisher(), [message("t", "last", 50)]).await;
    seen.len(n).await;
    until("committed", || cluster.committed().0 == 51).await;
    next.stop().await;
    assert_eq!(seen.lock().len(), n);
    assert_eq!(cluster.committed().1, "", "nothing is finished beyond the last record");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_records_beyond_a_hanging_one_are_not_handled_again() {
    let cluster = cluster_with_records().await;
    let seen = Seen::default();
    let consumer = Running::start(hangs_at_the_first(&cluster, &seen).build().unwrap());
    seen.len(49).await;
    consumer.stop().await;
    assert_eq!(cluster.committed().0, 0);
    let again = seen_by_the_next_owner(&cluster, 2).await;
    assert_eq!(again.ids(), ["slow-0", "last-50"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_records_are_committed_while_a_record_hangs_and_no_other_comes() {
    let cluster = cluster_with_records().await;
    let seen = Seen::default();
    let consumer = Running::start(hangs_at_the_first(&cluster, &seen).build().unwrap());
    seen.len(49).await;
    // The next owner after a crash reads what is committed now.
    let finished = "comms1:0:rATE";
    until("49 records from offset 1 on", || cluster.committed().1 == finished).await;
    consumer.stop().await;
    assert_eq!(cluster.committed().1, finished);
}

/// Commits as another program would.
fn commit(cluster: &Cluster, offset: i64, metadata: &str) {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition("t", 0);
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    tokio::task::block_in_place(|| cluster.group_client().commit(&list, CommitMode::Sync)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_another_program_and_of_another_offset_is_ignored() {
    for metadata in ["committed by hand", "rebalance", "comms1:0:rATE"] {
        let cluster = cluster_with_records().await;
        commit(&cluster, 40, metadata);
        seen_by_the_next_owner(&cluster, 11).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_records_from_the_committed_offset_on_are_skipped() {
    let cluster = cluster_with_records().await;
    // The records 1 to 49 are finished.
    commit(&cluster, 40, "comms1:40:rATE");
    let seen = seen_by_the_next_owner(&cluster, 1).await;
    assert_eq!(seen.ids(), ["last-50"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_handles_finished_records_again() {
    let cluster = cluster_with_records().await;
    let seen = Seen::default();
    let consumer = Running::start(hangs_at_the_first(&cluster, &seen).build().unwrap());
    seen.len(49).await;
    consumer.stop().await;
    let again = Seen::default();
    let next = cluster.consumer().on("t", again.handler()).build().unwrap();
    let handle = next.handle();
    let next = Running::start(next);
    again.len(1).await;
    handle.seek("t", Start::Earliest).await.unwrap();
    again.len(51).await;
    next.stop().await;
    assert_eq!(cluster.committed(), (50, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_the_metadata_gets_the_offsets_alone() {
    let cluster = cluster_with_records().await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE;
    let seen = Seen::default();
    // The first commit has no list yet: the consumer has begun at the committed offset of a group without one.
    cluster.mock.request_errors(RDKafkaApiKey::OffsetCommit, &[too_large]);
    let consumer = Running::start(hangs_at_the_first(&cluster, &seen).build().unwrap());
    seen.len(49).await;
    publish(&*cluster.publisher(), [message("t", "k1", 50)]).await;
    seen.len(50).await;
    tokio::time::sleep(5 * SHORT).await;
    consumer.stop().await;
    assert_eq!(cluster.committed(), (0, String::new()));
}
