//! A topic that is refused as a whole is held. Other topics continue, and it joins them when the cause is gone.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, ErrorKind, Message,
    health::{Health, Report, Status},
};

use super::{
    Backend,
    gate::{Accepted, Gate, Silent},
    message_to, run, send, until,
};

/// Commits `count` messages to each of `topics`, with four keys, ten messages in a transaction.
async fn write<B: Backend>(backend: &B, topics: &[&str], from: usize, count: usize) {
    let row =
        |n: usize| topics.iter().map(move |topic| message_to(topic, &(n % 4).to_string(), &n.to_string()));
    let rows: Vec<_> = (from..from + count).flat_map(row).collect();
    for rows in rows.chunks(10) {
        send(backend, rows).await;
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn refuse(gate: &Gate, topic: &'static str, error: fn() -> Error) {
    gate.judge(move |message: &Message| (message.topic() == topic).then(error));
}

fn degraded(report: &Report, reason: &str) -> bool {
    report.status == Status::Degraded
        && report.reason("relay").is_some_and(|r| r.contains("topic b is held") && r.contains(reason))
}

fn each_once(accepted: &Accepted) {
    let ids = accepted.ids();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a message was accepted twice");
}

fn missing() -> Error {
    Error::misconfigured("topic b does not exist")
}

/// The topic stays held over a restart and a crash, with the reason. Then each message is delivered once, in order.
pub async fn a_refused_topic_is_held_while_others_continue<B: Backend>() {
    let (backend, accepted, health) = (B::start().await, Accepted::default(), Health::new());
    let gate = Gate::new(&accepted, Duration::from_millis(5));
    refuse(&gate, "b", missing);
    let relay = || {
        let component = health.component("relay");
        run(backend.relay(gate.clone()).owner("the same").page(10).health(component))
    };
    let running = relay();
    write(&backend, &["a", "b"], 0, 100).await;
    until("a is delivered", async || accepted.to("a").len() == 100).await;
    until("the branch is stored", async || !backend.branches().await.is_empty()).await;
    let held = async |what: &str| {
        until(what, async || degraded(&health.readiness(), "topic b does not exist")).await;
        let branches = backend.branches().await;
        assert_eq!(branches.len(), 1, "{branches:?}");
        assert_eq!((&*branches[0].topic, branches[0].error_kind.as_deref()), ("b", Some("misconfigured")));
        assert_eq!(branches[0].error.as_deref(), Some("misconfigured: topic b does not exist"));
        branches[0].since
    };
    let since = held("held").await;
    running.stop().await;
    assert_eq!(held("held while no relay runs").await, since);

    let running = relay();
    write(&backend, &["a", "b"], 100, 50).await;
    until("a continues", async || accepted.to("a").len() == 150).await;
    assert_eq!(held("held after a restart").await, since);
    // The cursor is saved within 100 ms of an acknowledgement.
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.crash().await;
    let running = relay();
    write(&backend, &["a", "b"], 150, 50).await;
    until("a flows after a crash", async || accepted.to("a").len() == 200).await;
    assert_eq!(held("held after a crash").await, since);
    assert_eq!(accepted.to("b").len(), 0);

    gate.heal();
    until("b is delivered", async || accepted.to("b").len() >= 200).await;
    until("b joins", async || backend.branches().await.is_empty()).await;
    until("ready", async || health.readiness().status == Status::Ready).await;
    write(&backend, &["a", "b"], 200, 20).await;
    until("both are delivered", async || accepted.count() >= 440).await;
    running.stop().await;
    each_once(&accepted);
    assert_eq!(accepted.to("a"), numbers(0..220));
    assert_eq!(accepted.to("b"), numbers(0..220));
    assert!(backend.branches().await.is_empty());
    assert!(backend.parked().await.is_empty());
}

/// Every kind whose cause lies outside the message holds the topic.
pub async fn each_transient_refusal_holds_its_topic<B: Backend>() {
    let errors: [(fn() -> Error, ErrorKind); 5] = [
        (|| Error::not_executed("away"), ErrorKind::NotExecuted),
        (|| Error::indeterminate("no answer"), ErrorKind::Indeterminate),
        (|| Error::rejected("full", Some(Duration::from_millis(300))), ErrorKind::Rejected),
        (|| Error::new(ErrorKind::Conflict, "lost"), ErrorKind::Conflict),
        (|| Error::new(ErrorKind::NotFound, "gone"), ErrorKind::NotFound),
    ];
    for (error, kind) in errors {
        let (backend, accepted) = (B::start().await, Accepted::default());
        let gate = Gate::new(&accepted, Duration::ZERO);
        refuse(&gate, "b", error);
        let relay = run(backend.relay(gate.clone()).page(7));
        write(&backend, &["a", "b", "c"], 0, 40).await;
        until("a and c are delivered", async || accepted.count() == 80).await;
        until("the reason is stored", async || {
            let branches = backend.branches().await;
            branches.first().is_some_and(|b| b.error_kind.as_deref() == Some(kind.as_str()))
        })
        .await;
        gate.heal();
        until("b joins", async || accepted.count() >= 120 && backend.branches().await.is_empty()).await;
        relay.stop().await;
        each_once(&accepted);
        assert_eq!(accepted.to("b"), numbers(0..40), "{kind}");
        assert!(backend.parked().await.is_empty(), "{kind}");
    }
}

/// One message of the topic is refused many times. Messages of other keys behind it are delivered at once.
pub async fn messages_behind_a_refused_one_are_delivered_once<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let gate = Gate::new(&accepted, Duration::from_millis(30));
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = attempts.clone();
    gate.judge(move |message| {
        (message.payload() == Some(b"5")).then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Error::not_executed("partition away")
        })
    });
    write(&backend, &["a", "b"], 0, 300).await;
    let relay = run(backend.relay(gate.clone()).page(3));
    until("each was refused four times", async || attempts.load(Ordering::SeqCst) >= 8).await;
    gate.heal();
    until("both are whole", async || accepted.count() >= 600).await;
    until("both join", async || backend.branches().await.is_empty()).await;
    relay.stop().await;
    each_once(&accepted);
    for key in 0..4 {
        let expected: Vec<_> = (0..300).filter(|n| n % 4 == key).map(|n| n.to_string()).collect();
        for topic in ["a", "b"] {
            let lane = (topic.to_owned(), key.to_string());
            assert_eq!(accepted.first_by_lane()[&lane], expected, "{topic} {key}");
        }
    }
}

/// A topic that is refused again as soon as it has joined loses no message in a crash.
pub async fn a_topic_that_is_refused_repeatedly_loses_nothing<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let clock = comms_core::clock::Clock::seeded(Duration::ZERO, 7);
    for round in 0..12 {
        let gate = Gate::new(&accepted, Duration::from_millis(1));
        let random = clock.clone();
        gate.judge(move |message: &Message| {
            (message.topic() == "b" && random.random_unit() < 0.02).then(missing)
        });
        let relay = run(backend.relay(gate.clone()).owner("the same").page(10));
        for n in 0..10 {
            write(&backend, &["a", "b"], round * 100 + n * 10, 10).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        relay.crash().await;
    }
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)).owner("the same"));
    let whole = || accepted.first_by_lane().values().map(Vec::len).sum::<usize>() == 2_400;
    until("every message", async || whole() && backend.branches().await.is_empty()).await;
    relay.stop().await;
    for ((_, key), payloads) in accepted.first_by_lane() {
        let expected: Vec<_> = numbers(0..1_200)
            .into_iter()
            .filter(|n| n.parse::<usize>().unwrap() % 4 == key.parse::<usize>().unwrap())
            .collect();
        assert_eq!(payloads, expected, "key {key}");
    }
}

/// At a shutdown one message waits and another is parked. The cursor does not skip the one that waits.
pub async fn a_shutdown_skips_no_undelivered_message<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let gate = Gate::new(&accepted, Duration::from_millis(400));
    gate.judge(|message| match message.payload() {
        Some(b"1") => Some(Error::not_executed("stopping")),
        Some(b"3") => Some(Error::invalid("schema unknown")),
        _ => None,
    });
    let rows: Vec<_> = (0..5).map(|n| message_to("t", &n.to_string(), &n.to_string())).collect();
    send(&backend, &rows).await;
    let relay = run(backend.relay(gate.clone()));
    until("handed over", async || gate.refused() == 2).await;
    relay.stop().await;
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("1 is delivered", async || accepted.to("t").contains(&"1".to_owned())).await;
    relay.stop().await;
    assert_eq!(backend.parked().await.len(), 1);
}

/// A topic without acknowledgements takes all the room in flight, so that other topics wait. No row is lost.
pub async fn a_topic_without_acknowledgements_is_bounded_by_the_in_flight_limit<B: Backend>() {
    let (backend, accepted) = (B::start().await, Accepted::default());
    let silent = Arc::new(Silent::new("b", Gate::new(&accepted, Duration::ZERO)));
    let drain = Duration::from_millis(200);
    let relay = run(backend.relay(silent.clone()).page(10).in_flight(50).drain(drain).owner("the same"));
    write(&backend, &["a", "b"], 0, 20).await;
    until("a flows beside b", async || accepted.to("a").len() == 20).await;
    write(&backend, &["a", "b"], 20, 200).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(silent.waiting() <= 60, "{} are in flight", silent.waiting());
    relay.stop().await;
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)).owner("the same"));
    let whole = || accepted.first_by_lane().values().map(Vec::len).sum::<usize>() == 440;
    until("every message", async || whole()).await;
    relay.stop().await;
}
