//! The contract of `Backplane`, for every implementation.

use std::{collections::HashSet, future::Future, pin::Pin, time::Duration};

use comms_core::bytes::Bytes;
use comms_ws::backplane::{Position, Published, Retention};
use futures::future::join_all;

use super::node::{KEEP, Node};

#[path = "presence.rs"]
mod presence;

pub(crate) type Passed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Two nodes of one system. `pass` lets time pass for the server.
pub(crate) struct Nodes {
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) pass: Box<dyn Fn(Duration) -> Passed + Send + Sync>,
}

/// Runs every case. Each has topics of its own.
pub(crate) async fn all(nodes: &Nodes) {
    offsets_count_from_one_and_arrive_everywhere(nodes).await;
    a_repetition_is_a_duplicate(nodes).await;
    history_has_no_gap(nodes).await;
    history_is_bounded_in_bytes(nodes).await;
    retention_by_count(nodes).await;
    retention_by_age(nodes).await;
    an_old_message_before_a_new_one(nodes).await;
    order_under_concurrent_publishers(nodes).await;
    topics_without_history(nodes).await;
    any_text_is_a_topic(nodes).await;
    large_and_empty_contents(nodes).await;
    claims(nodes).await;
    presence::all(nodes).await;
    for Node { recorder, .. } in [&nodes.a, &nodes.b] {
        assert_eq!((recorder.interruptions(), recorder.behind()), (0, Vec::new()));
    }
}

async fn offsets_count_from_one_and_arrive_everywhere(Nodes { a, b, .. }: &Nodes) {
    let start = a.subscribe("offsets").await;
    assert_eq!(start.offset, 0);
    assert_eq!(b.subscribe("offsets").await, start);
    for offset in 1..=3 {
        let position = b.publish("offsets", &format!("m{offset}")).await;
        assert_eq!(position, Position { offset, ..start });
    }
    assert_eq!(a.backplane.subscribe("offsets", Some(KEEP)).await.unwrap().unwrap().offset, 3);
    for node in [a, b] {
        let arrived = node.recorder.until_count("offsets", 3).await;
        let positions: Vec<_> = arrived.iter().map(|arrived| arrived.position.unwrap()).collect();
        assert_eq!(positions, [1, 2, 3].map(|offset| Position { offset, ..start }));
        assert_eq!(arrived[0].body, "m1");
    }
}

async fn a_repetition_is_a_duplicate(Nodes { a, b, .. }: &Nodes) {
    a.subscribe("duplicates").await;
    let first = a.publish("duplicates", "x").await;
    let again = b.try_publish("duplicates", "x", "other", Some(KEEP)).await.unwrap();
    assert_eq!(again, Published::Duplicate(first));
    let other_topic = a.publish("duplicates2", "x").await;
    assert_eq!(other_topic.offset, 1, "an identity belongs to its topic");
    b.publish("duplicates", "y").await;
    let arrived = a.recorder.until_count("duplicates", 2).await;
    assert_eq!(arrived.iter().map(|arrived| &arrived.body[..]).collect::<Vec<_>>(), [b"x", b"y"]);
    assert_eq!(a.bodies("duplicates", Position { offset: 0, ..first }).await.unwrap(), ["x", "y"]);
}

async fn history_has_no_gap(Nodes { a, b, .. }: &Nodes) {
    let start = a.subscribe("history").await;
    for n in 1..=200 {
        b.publish("history", &n.to_string()).await;
    }
    let top = Position { offset: 200, ..start };
    for since in [0, 1, 63, 64, 199] {
        let expected: Vec<_> = (since + 1..=200).map(|n: u64| n.to_string()).collect();
        let since = Position { offset: since, ..start };
        assert_eq!(a.bodies("history", since).await.unwrap(), expected);
        let first = a.history("history", since).await.messages.unwrap()[0].0;
        assert_eq!(first, since.offset + 1);
    }
    assert_eq!(a.history("history", top).await.messages, Some(Vec::new()));
    assert_eq!(a.history("history", top).await.top, top);
    for unknown in [
        Position { offset: 201, ..start },
        Position { offset: u64::MAX, ..start },
        Position { epoch: start.epoch ^ 1, offset: 1 },
    ] {
        let history = a.history("history", unknown).await;
        assert_eq!((history.top, history.messages), (top, None), "{unknown:?}");
    }
    let empty = a.history("history of nothing", start).await;
    assert_eq!((empty.top.offset, empty.messages), (0, None));
}

async fn history_is_bounded_in_bytes(Nodes { a, .. }: &Nodes) {
    let start = a.subscribe("bytes").await;
    for n in 0..5 {
        a.try_publish("bytes", &n.to_string(), "12345678", Some(KEEP)).await.unwrap();
    }
    for (max_bytes, count) in [(0, 1), (1, 1), (15, 1), (16, 2), (39, 4), (40, 5), (usize::MAX, 5)] {
        let history = a.backplane.history("bytes", KEEP, start, max_bytes).await.unwrap();
        assert_eq!(history.messages.unwrap().len(), count, "{max_bytes}");
        assert_eq!(history.top.offset, 5);
    }
}

async fn retention_by_count(Nodes { a, .. }: &Nodes) {
    let retention = Retention { messages: 3, ..KEEP };
    let start = a.backplane.subscribe("count", Some(retention)).await.unwrap().unwrap();
    for n in 1..=5 {
        a.try_publish("count", &n.to_string(), n.to_string(), Some(retention)).await.unwrap();
    }
    let history = async |offset| {
        let since = Position { offset, ..start };
        a.backplane.history("count", retention, since, usize::MAX).await.unwrap().messages
    };
    assert_eq!(history(1).await, None, "the second message is not kept");
    assert_eq!(history(2).await.map(|messages| messages.len()), Some(3));
    let fewer = Retention { messages: 1, ..KEEP };
    let since = Position { offset: 2, ..start };
    assert_eq!(a.backplane.history("count", fewer, since, usize::MAX).await.unwrap().messages, None);
}

async fn retention_by_age(Nodes { a, pass, .. }: &Nodes) {
    let retention = Retention { age: Duration::from_millis(300), ..KEEP };
    let start = a.backplane.subscribe("age", Some(retention)).await.unwrap().unwrap();
    let old = a.try_publish("age", "old", "old", Some(retention)).await.unwrap();
    pass(Duration::from_millis(301)).await;
    let history = async |offset| {
        let since = Position { offset, ..start };
        a.backplane.history("age", retention, since, usize::MAX).await.unwrap()
    };
    assert_eq!(history(0).await.messages, None);
    assert_eq!(history(1).await.messages, Some(Vec::new()), "nothing is missing after the last message");
    let new = a.try_publish("age", "new", "new", Some(KEEP)).await.unwrap();
    assert_ne!(old, new);
    assert_eq!(new, Published::New(Some(Position { offset: 2, ..start })), "the epoch outlives the messages");
    assert_eq!(history(0).await.messages, None);
    assert_eq!(a.bodies("age", Position { offset: 1, ..start }).await.unwrap(), ["new"]);
}

async fn an_old_message_before_a_new_one(Nodes { a, pass, .. }: &Nodes) {
    let retention = Retention { age: Duration::from_secs(2), ..KEEP };
    let start = a.backplane.subscribe("old", Some(retention)).await.unwrap().unwrap();
    a.try_publish("old", "1", "1", Some(retention)).await.unwrap();
    pass(Duration::from_millis(1_300)).await;
    a.try_publish("old", "2", "2", Some(retention)).await.unwrap();
    pass(Duration::from_millis(701)).await;
    let history = async |offset| {
        let since = Position { offset, ..start };
        a.backplane.history("old", retention, since, usize::MAX).await.unwrap().messages
    };
    assert_eq!(history(0).await, None);
    assert_eq!(history(1).await, Some(vec![(2, Bytes::from_static(b"2"))]));
}

/// Eight publishers on two nodes.
async fn order_under_concurrent_publishers(Nodes { a, b, .. }: &Nodes) {
    let start = a.subscribe("order").await;
    let publisher = async |publisher: usize| {
        let node = if publisher.is_multiple_of(2) { a } else { b };
        for n in 0..50 {
            node.publish("order", &format!("{publisher}/{n}")).await;
        }
    };
    join_all((0..8).map(publisher)).await;
    let arrived = a.recorder.until_count("order", 400).await;
    let offsets: Vec<_> = arrived.iter().map(|arrived| arrived.position.unwrap().offset).collect();
    assert_eq!(offsets, (1..=400).collect::<Vec<_>>());
    let kept = a.bodies("order", start).await.unwrap();
    let live: Vec<_> = arrived.iter().map(|a| String::from_utf8_lossy(&a.body).into_owned()).collect();
    assert_eq!(kept, live);
    for publisher in 0..8 {
        let own: Vec<_> =
            kept.iter().filter(|body| body.starts_with(&format!("{publisher}/"))).cloned().collect();
        assert_eq!(own, (0..50).map(|n| format!("{publisher}/{n}")).collect::<Vec<_>>());
    }
}

async fn topics_without_history(Nodes { a, b, .. }: &Nodes) {
    for node in [a, b] {
        assert_eq!(node.backplane.subscribe("plain", None).await.unwrap(), None);
    }
    for n in 0..3 {
        let body = n.to_string();
        assert_eq!(a.try_publish("plain", "same", body, None).await.unwrap(), Published::New(None));
    }
    b.try_publish("plain", "end", "end", None).await.unwrap();
    for node in [a, b] {
        let arrived = node.recorder.until_count("plain", 4).await;
        assert!(arrived.iter().all(|arrived| arrived.position.is_none()));
        // The messages of one publisher are in order.
        let of_a: Vec<_> =
            arrived.iter().map(|arrived| &arrived.body[..]).filter(|body| *body != b"end").collect();
        assert_eq!(of_a, [b"0", b"1", b"2"]);
    }
}

async fn any_text_is_a_topic(Nodes { a, b, .. }: &Nodes) {
    let long = "l".repeat(10_000);
    let topics = [
        "",
        " ",
        "{",
        "}",
        "{}",
        "{a}",
        "a{b}c",
        "}{",
        "%7B",
        "a:b",
        "a\r\nb",
        "\0",
        "тема заказа ☃",
        "*",
        "h?[x]",
        &long,
    ];
    for topic in topics {
        a.subscribe(topic).await;
    }
    for topic in topics {
        assert_eq!(b.publish(topic, "}{ id\r\n☃").await.offset, 1, "{topic:?} is a topic of its own");
    }
    for topic in topics {
        let arrived = a.recorder.until_count(topic, 1).await;
        assert_eq!(arrived[0].body, "}{ id\r\n☃");
        let since = Position { offset: 0, ..arrived[0].position.unwrap() };
        assert_eq!(a.bodies(topic, since).await.unwrap().len(), 1);
    }
    let epochs: HashSet<_> = topics.map(|topic| a.recorder.of(topic)[0].position.unwrap().epoch).into();
    assert_eq!(epochs.len(), topics.len());
}

async fn large_and_empty_contents(Nodes { a, b, .. }: &Nodes) {
    let start = a.subscribe("sizes").await;
    let large = Bytes::from((0..8 * 1024 * 1024).map(|n: u32| n.to_le_bytes()[0]).collect::<Vec<_>>());
    b.try_publish("sizes", "large", large.clone(), Some(KEEP)).await.unwrap();
    b.try_publish("sizes", "empty", Bytes::new(), Some(KEEP)).await.unwrap();
    let arrived = a.recorder.until_count("sizes", 2).await;
    assert!(arrived[0].body == large && arrived[1].body.is_empty());
    let kept = a.history("sizes", start).await.messages.unwrap();
    assert!(kept[0] == (1, large) && kept[1] == (2, Bytes::new()));
}

async fn claims(Nodes { a, b, pass, .. }: &Nodes) {
    let minute = Duration::from_secs(60);
    assert!(a.backplane.claim("{ticket}", minute).await.unwrap());
    assert!(!b.backplane.claim("{ticket}", minute).await.unwrap());
    assert!(b.backplane.claim("ticket", minute).await.unwrap());
    let moment = Duration::from_millis(50);
    assert!(a.backplane.claim("short", moment).await.unwrap());
    pass(moment + Duration::from_millis(1)).await;
    assert!(b.backplane.claim("short", minute).await.unwrap());
    let claims = join_all((0..20).map(|n| if n % 2 == 0 { a } else { b }.backplane.claim("race", minute)));
    assert_eq!(claims.await.into_iter().filter(|claim| *claim.as_ref().unwrap()).count(), 1);
}
