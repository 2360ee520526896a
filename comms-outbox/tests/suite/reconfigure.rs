//! The topics of a relay change from one process to the next. No row is skipped.

use std::{sync::Arc, time::Duration};

use comms_core::{
    Error,
    health::{Health, Status},
};
use comms_outbox::{RelayBuilder, Start};

use super::{
    Backend, Running,
    gate::{Accepted, Gate},
    message_to, run, send, until,
};

/// The topics that a process names; `None`: all.
type Named = Option<&'static [&'static str]>;

const A: Named = Some(&["a"]);
const AB: Named = Some(&["a", "b"]);
const ALL: Named = None;

fn builder<B: Backend>(backend: &B, accepted: &Accepted, named: Named) -> RelayBuilder {
    let relay = backend.relay(Gate::new(accepted, Duration::ZERO)).owner("the same").page(4);
    match named {
        Some(named) => relay.topics(named.iter().copied()),
        None => relay,
    }
}

async fn start<B: Backend>(backend: &B, accepted: &Accepted, named: Named) -> Running {
    run(builder(backend, accepted, named))
}

/// Writes ten rows to each of `topics`, from number `from` on.
async fn write<B: Backend>(backend: &B, topics: &[&str], from: usize) {
    for n in from..from + 10 {
        let rows: Vec<_> = topics.iter().map(|topic| message_to(topic, "k", &n.to_string())).collect();
        send(backend, &rows).await;
    }
}

fn numbers(to: usize) -> Vec<String> {
    (0..to).map(|n| n.to_string()).collect()
}

/// Runs one process after the other, one for each set of topics, with rows to both topics before and during each. Only
/// the named topics are delivered meanwhile. At the end each row was delivered once, in order.
async fn processes<B: Backend>(sets: &[Named]) {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let mut written = 0;
    for (n, named) in sets.iter().enumerate() {
        let before = accepted.to("b").len();
        write(&backend, &["a", "b"], written).await;
        let relay = start(&backend, &accepted, *named).await;
        write(&backend, &["a", "b"], written + 10).await;
        written += 20;
        until("a is delivered", async || accepted.to("a").len() >= written).await;
        if named.is_none_or(|named| named.contains(&"b")) {
            until("b is delivered", async || accepted.to("b").len() >= written).await;
            until("no branch is left", async || backend.branches().await.is_empty()).await;
        } else {
            assert_eq!(accepted.to("b").len(), before, "process {n} does not name b");
        }
        relay.stop().await;
    }
    assert_eq!(accepted.to("a"), numbers(written), "{sets:?}");
    assert_eq!(accepted.to("b"), numbers(written), "{sets:?}");
    assert!(backend.parked().await.is_empty());
}

pub async fn an_added_topic_loses_no_row<B: Backend>() {
    processes::<B>(&[A, AB]).await;
}

pub async fn a_topic_that_is_removed_and_added_again_loses_no_row<B: Backend>() {
    processes::<B>(&[AB, A, AB]).await;
}

pub async fn a_relay_of_all_topics_may_name_some_for_a_while<B: Backend>() {
    processes::<B>(&[ALL, A, ALL]).await;
}

pub async fn a_relay_of_some_topics_may_change_to_all<B: Backend>() {
    processes::<B>(&[A, ALL]).await;
}

pub async fn a_topic_moves_between_all_kinds_of_processes<B: Backend>() {
    processes::<B>(&[A, AB, A, ALL, A, A, AB]).await;
}

/// A process that names fewer topics takes over within a backlog that one transaction wrote.
pub async fn a_process_that_names_fewer_topics_takes_over_within_a_backlog<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let rows = |n: usize| ["a", "b"].map(|topic| message_to(topic, "k", &n.to_string()));
    send(&backend, &(0..200).flat_map(rows).collect::<Vec<_>>()).await;
    let gate = Gate::new(&accepted, Duration::from_millis(5));
    let relay = backend.relay(gate).owner("the same").page(4).in_flight(8).topics(["a", "b"]);
    let relay = run(relay);
    until("a part", async || accepted.count() >= 40).await;
    relay.stop().await;
    let before = accepted.to("b").len();
    assert!(before < 200, "{before}");
    let relay = start(&backend, &accepted, A).await;
    until("a is whole", async || accepted.to("a").len() == 200).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.stop().await;
    assert_eq!(accepted.to("b").len(), before, "the process does not name b");
    let relay = start(&backend, &accepted, AB).await;
    until("b is whole", async || accepted.to("b").len() >= 200).await;
    until("no branch is left", async || backend.branches().await.is_empty()).await;
    relay.stop().await;
    assert_eq!(accepted.to("a"), numbers(200));
    assert_eq!(accepted.to("b"), numbers(200));
}

/// A released message waits for a process that names its topic.
pub async fn a_released_message_waits_for_a_process_that_names_its_topic<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let gate = Gate::new(&accepted, Duration::ZERO);
    gate.judge(|message| (message.topic() == "b").then(|| Error::invalid("schema unknown")));
    send(&backend, &[message_to("b", "k", "0"), message_to("a", "k", "0")]).await;
    let relay = run(backend.relay(gate).owner("the same"));
    until("b is parked", async || backend.parked().await.len() == 1).await;
    relay.stop().await;
    let relay = start(&backend, &accepted, A).await;
    assert_eq!(backend.release(Some("k")).await, 1);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    relay.stop().await;
    assert!(accepted.to("b").is_empty(), "the process does not name b");
    let relay = start(&backend, &accepted, ALL).await;
    until("b is delivered", async || accepted.to("b").len() == 1).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    relay.stop().await;
}

/// Delivered rows are deleted by retention. An added topic catches up over the gap.
pub async fn a_topic_catches_up_over_deleted_rows<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    write(&backend, &["a", "b"], 0).await;
    let relay = start(&backend, &accepted, A).await;
    until("a is delivered", async || accepted.count() == 10).await;
    relay.stop().await;
    backend.sql("DELETE FROM {s}.comms_outbox").await;
    let relay = start(&backend, &accepted, AB).await;
    until("b has its turn", async || backend.branches().await.is_empty()).await;
    write(&backend, &["a", "b"], 10).await;
    until("both are delivered", async || accepted.count() == 30).await;
    relay.stop().await;
    assert_eq!(accepted.to("b"), numbers(20)[10..]);
}

/// A topic that no process names is reported, and its rows wait.
pub async fn a_topic_without_a_process_is_reported<B: Backend>() {
    let (backend, accepted, health) = (B::start().await, Accepted::default(), Health::new());
    write(&backend, &["a", "b"], 0).await;
    let relay = start(&backend, &accepted, AB).await;
    until("both are delivered", async || accepted.count() == 20).await;
    relay.stop().await;
    let relay = run(builder(&backend, &accepted, A).health(health.component("relay")));
    write(&backend, &["a", "b"], 10).await;
    until("a is delivered", async || accepted.count() == 30).await;
    let names_b = || health.readiness().reason("relay").is_some_and(|reason| reason.contains("topic b"));
    until("b is reported", async || health.readiness().status == Status::Degraded && names_b()).await;
    assert_eq!(backend.branches().await.len(), 1);

    // The running process continues with the topics that `cover_only` declares. The cursor is saved within 100 ms.
    tokio::time::sleep(Duration::from_millis(500)).await;
    backend.cover_only(&["a"]).await;
    until("ready", async || health.readiness().status == Status::Ready).await;
    assert!(backend.branches().await.is_empty());
    write(&backend, &["a", "b"], 20).await;
    until("a continues", async || accepted.count() == 40).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(backend.branches().await.is_empty() && health.readiness().status == Status::Ready);
    relay.stop().await;
    assert_eq!(accepted.to("a"), numbers(30));
    assert_eq!(accepted.to("b"), numbers(10));
}

/// A rolling release: the old process has the lease while the new one, which names one more topic, waits for it.
pub async fn a_new_process_delivers_topics_that_the_old_one_did_not_name<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let process = |owner: &str, named: &'static [&'static str]| {
        let gate: Arc<Gate> = Gate::new(&accepted, Duration::ZERO);
        run(backend.relay(gate).owner(owner).topics(named.iter().copied()))
    };
    let old = process("old", &["orders"]);
    write(&backend, &["orders", "refunds"], 0).await;
    until("orders are delivered", async || accepted.count() == 10).await;
    let new = process("new", &["orders", "refunds"]);
    write(&backend, &["orders", "refunds"], 10).await;
    until("orders continue", async || accepted.count() == 20).await;
    assert!(accepted.to("refunds").is_empty());
    old.stop().await;
    until("refunds come", async || accepted.count() == 40).await;
    // The release is reverted, and then repeated.
    let old = process("old", &["orders"]);
    new.stop().await;
    write(&backend, &["orders", "refunds"], 20).await;
    until("the old process delivers orders", async || accepted.count() == 50).await;
    let new = process("new", &["orders", "refunds"]);
    old.stop().await;
    until("refunds come again", async || accepted.count() == 60).await;
    new.stop().await;
    assert_eq!(accepted.to("orders"), numbers(30));
    assert_eq!(accepted.to("refunds"), numbers(30));
}

/// A new relay, and a relay that adds a topic, begin with the rows that are committed from now on.
pub async fn a_start_from_now_skips_older_rows<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    write(&backend, &["a", "b"], 0).await;
    let relay = run(builder(&backend, &accepted, A).start(Start::Now));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(backend.lease().await.2, "it has the lease");
    relay.crash().await;
    write(&backend, &["a", "b"], 10).await;
    let relay = run(builder(&backend, &accepted, AB).start(Start::Now));
    until("a is delivered", async || accepted.to("a").len() == 10).await;
    write(&backend, &["a", "b"], 20).await;
    until("both are delivered", async || accepted.to("a").len() == 20 && accepted.to("b").len() >= 10).await;
    relay.stop().await;
    assert_eq!(accepted.to("a"), numbers(30)[10..]);
    assert_eq!(accepted.to("b").last().unwrap(), "29");
    assert!(!accepted.to("b").contains(&"5".to_owned()), "rows from before the relay's position");
}

/// The start of a new relay is stored before it reads a row.
pub async fn a_start_from_now_survives_a_crash<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    write(&backend, &["a"], 0).await;
    let process = || run(builder(&backend, &accepted, ALL).start(Start::Now).lease(Duration::from_secs(60)));
    let relay = process();
    tokio::time::sleep(Duration::from_millis(500)).await;
    relay.crash().await;
    write(&backend, &["a"], 10).await;
    let relay = process();
    until("what is new", async || accepted.to("a").contains(&"19".to_owned())).await;
    relay.stop().await;
    assert_eq!(accepted.to("a"), numbers(20)[10..]);
}

/// A topic that is ahead of the others does not delay them. With small pages, a pause for each page would take minutes.
pub async fn a_topic_that_is_ahead_does_not_delay_the_others<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let rows = |n: usize| ["a", "b"].map(|topic| message_to(topic, "k", &n.to_string()));
    send(&backend, &(0..500).flat_map(rows).collect::<Vec<_>>()).await;
    let relay = start(&backend, &accepted, A).await;
    until("a", async || accepted.to("a").len() == 500).await;
    relay.stop().await;
    let relay = run(builder(&backend, &accepted, ALL).page(1));
    until("b", async || accepted.to("b").len() == 500).await;
    until("a joins", async || backend.branches().await.is_empty()).await;
    relay.stop().await;
    assert_eq!(accepted.to("a"), numbers(500));
}
