//! The end of the sessions of a principal on all nodes.

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock};
use comms_ws::{Encoding, Hub, Link, Push, Session, close, session_topic};
use serde_json::json;

use crate::{
    backplane::{Access, Faults, Faulty},
    support::{ROOM, end, frame, hub, is_idle, open, session, until},
};

const SECOND: Duration = Duration::from_secs(1);

/// Returns two hubs, of which the second follows the calls of the first.
async fn nodes(backplane: &Faulty, clock: &Clock) -> (Hub, Hub) {
    let (a, b) = (hub(backplane, clock), hub(backplane, clock));
    let mut first = open(&b, "first").await;
    assert_eq!(a.disconnect("first").await.unwrap(), 0);
    assert_eq!(end(&mut first).await.code, close::FORBIDDEN);
    (a, b)
}

fn node() -> (Faulty, Clock) {
    let clock = Clock::manual(Duration::from_secs(1_000_000));
    (Faulty::with_clock(1, clock.clone()), clock)
}

#[tokio::test]
async fn the_sessions_of_a_principal_end_on_all_nodes() {
    let (backplane, clock) = node();
    let (a, b) = nodes(&backplane, &clock).await;
    let without_sessions = hub(&backplane, &clock);
    let mut here = [open(&a, "ann").await, open(&a, "ann").await];
    let mut there = [open(&b, "ann").await, open(&b, "ann").await, open(&b, "ann").await];
    let mut others = [open(&a, "ben").await, open(&b, "ben").await];
    assert_eq!(a.disconnect("ann").await.unwrap(), 2, "the sessions of its node");
    for link in here.iter_mut().chain(&mut there) {
        assert_eq!(end(link).await.code, close::FORBIDDEN);
    }
    drop((here, there));
    assert_eq!(without_sessions.disconnect("cem").await.unwrap(), 0);
    assert_eq!(without_sessions.disconnect("ben").await.unwrap(), 0);
    for link in &mut others {
        assert_eq!(end(link).await.code, close::FORBIDDEN);
    }
    let mut again = open(&b, "ann").await;
    assert_eq!(a.disconnect("dan").await.unwrap(), 0);
    assert!(is_idle(&mut again).await, "the calls before its beginning do not end a session");
}

/// A node that missed the calls reads them, and spares the sessions that began after them.
#[tokio::test]
async fn a_node_that_was_cut_off_ends_the_sessions_after_the_interruption() {
    let (backplane, clock) = node();
    let (a, b) = nodes(&backplane, &clock).await;
    let (mut before, mut other) = (open(&b, "ann").await, open(&b, "ben").await);
    backplane.set(Faults { loses: 1, history: Access::Fails, ..Faults::default() });
    for _ in 0..100 {
        a.disconnect("ann").await.unwrap();
    }
    let mut own = open(&a, "ann").await;
    clock.advance(9 * SECOND);
    let mut soon_after = open(&b, "ann").await;
    clock.advance(2 * SECOND);
    let mut after = open(&b, "ann").await;
    assert!(is_idle(&mut before).await);
    backplane.recover();
    for link in [&mut before, &mut soon_after] {
        assert_eq!(end(link).await.code, close::FORBIDDEN);
    }
    assert!(is_idle(&mut after).await && is_idle(&mut other).await);
    let mut last = open(&a, "last").await;
    b.disconnect("last").await.unwrap();
    assert_eq!(end(&mut last).await.code, close::FORBIDDEN);
    assert!(is_idle(&mut own).await, "the node of the call has ended its sessions at once");
}

/// A lost message is noticed when the next one arrives.
#[tokio::test]
async fn a_call_that_was_lost_takes_effect_with_the_next_one() {
    let (backplane, clock) = node();
    let (a, b) = nodes(&backplane, &clock).await;
    let (mut ann, mut ben) = (open(&b, "ann").await, open(&b, "ben").await);
    backplane.set(Faults { loses: 1, ..Faults::default() });
    a.disconnect("ann").await.unwrap();
    backplane.set(Faults::default());
    a.disconnect("ben").await.unwrap();
    assert_eq!(end(&mut ann).await.code, close::FORBIDDEN);
    assert_eq!(end(&mut ben).await.code, close::FORBIDDEN);
}

#[tokio::test]
async fn a_call_that_is_not_published_ends_the_sessions_of_its_node_and_fails() {
    let (backplane, clock) = node();
    let (a, b) = nodes(&backplane, &clock).await;
    let (mut here, mut there) = (open(&a, "ann").await, open(&b, "ann").await);
    backplane.set(Faults { publish: Access::Fails, ..Faults::default() });
    let error = a.disconnect("ann").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate);
    assert!(error.chain().to_string().contains("repeat the call"), "{}", error.chain());
    assert_eq!(end(&mut here).await.code, close::FORBIDDEN);
    assert!(is_idle(&mut there).await);
    drop(here);
    backplane.set(Faults::default());
    assert_eq!(a.disconnect("ann").await.unwrap(), 0);
    assert_eq!(end(&mut there).await.code, close::FORBIDDEN);
}

/// The node has more calls before it than the history keeps, and has missed some since its first session.
#[tokio::test]
async fn a_node_that_starts_without_the_backplane_reads_the_calls_since_its_first_session() {
    for earlier in [0, 1, 3, 990, 1_500] {
        let (backplane, clock) = node();
        let (a, b) = (hub(&backplane, &clock), hub(&backplane, &clock));
        for n in 0..earlier {
            a.disconnect(if n % 2 == 0 { "eve" } else { "ann" }).await.unwrap();
        }
        clock.advance(60 * SECOND);
        backplane.set(Faults { subscribe: Access::Fails, ..Faults::default() });
        let open = |user: &str| b.open(session(user), Encoding::Json, None).unwrap();
        let (mut ann, mut eve, mut ben) = (open("ann"), open("eve"), open("ben"));
        a.disconnect("ann").await.unwrap();
        for _ in 0..20 {
            a.disconnect("nobody").await.unwrap();
        }
        assert!(is_idle(&mut ann).await);
        backplane.set(Faults { loses: 1, ..Faults::default() });
        a.disconnect("ben").await.unwrap();
        backplane.set(Faults::default());
        until("the node follows the calls", async || {
            clock.advance(SECOND);
            b.stats().sessions == 3 && is_closed(&mut ann).await
        })
        .await;
        assert_eq!(end(&mut ben).await.code, close::FORBIDDEN, "{earlier}");
        assert_eq!(frame(&mut eve).await["type"], "welcome", "{earlier}");
        assert!(is_idle(&mut eve).await, "its call came before the session: {earlier}");
    }
}

async fn is_closed(link: &mut Link) -> bool {
    !is_idle(link).await
}

/// A node that has missed more than the history keeps, or whose backplane has lost it, follows the later calls.
#[tokio::test]
async fn lost_calls_end_no_session_and_later_ones_do() {
    for is_flushed in [false, true] {
        let (backplane, clock) = node();
        let (a, b) = nodes(&backplane, &clock).await;
        let mut links = [open(&b, "lost").await, open(&b, "kept").await, open(&b, "live").await];
        backplane.set(Faults { loses: 1, ..Faults::default() });
        a.disconnect("lost").await.unwrap();
        if is_flushed {
            backplane.change_epoch();
        } else {
            clock.advance(601 * SECOND);
        }
        a.disconnect("kept").await.unwrap();
        backplane.recover();
        a.disconnect("live").await.unwrap();
        let [lost, kept, live] = &mut links;
        assert_eq!(end(kept).await.code, close::FORBIDDEN);
        assert_eq!(end(live).await.code, close::FORBIDDEN);
        // Its topic has lost its history as well.
        assert!(!is_flushed || frame(lost).await["type"] == "missed");
        assert!(is_idle(lost).await);
        a.disconnect("lost").await.unwrap();
        assert_eq!(end(lost).await.code, close::FORBIDDEN);
    }
}

/// Two calls that overtake each other, come twice and get lost end the same sessions.
#[tokio::test]
async fn calls_that_come_twice_late_or_not_at_all_end_the_same_sessions() {
    let clock = Clock::manual(Duration::from_secs(1_000_000));
    for seed in 0..20 {
        let backplane = Faulty::with_clock(seed, clock.clone());
        let (a, b) = nodes(&backplane, &clock).await;
        let mut ended = Vec::new();
        for n in 0..20 {
            ended.push(open(&b, &format!("user {n}")).await);
        }
        let mut stays = open(&b, "stays").await;
        backplane.set(Faults { loses: 3, repeats: 3, reorders: 3, ..Faults::default() });
        for n in 0..20 {
            a.disconnect(&format!("user {n}")).await.unwrap();
        }
        backplane.recover();
        for link in &mut ended {
            assert_eq!(end(link).await.code, close::FORBIDDEN, "{seed}");
        }
        assert!(is_idle(&mut stays).await);
    }
}

/// The topic of the calls is closed to clients and publishers, whatever the application allows.
#[tokio::test]
async fn the_topic_of_the_calls_is_closed() {
    const TOPIC: &str = "$hub/disconnect";
    let (backplane, clock) = node();
    let (a, b) = (hub(&backplane, &clock), hub(&backplane, &clock));
    let grants = Session::new("eve", vec![TOPIC.to_owned(), ROOM.to_owned()]).allow(|_| true).addressable();
    let mut eve = a.open(grants, Encoding::Json, Some(&format!("{TOPIC}:0:0:x"))).unwrap();
    let welcome = frame(&mut eve).await;
    let own = session_topic(welcome["session"].as_str().unwrap());
    let topics: Vec<_> = welcome["topics"].as_array().unwrap().iter().map(|topic| &topic["topic"]).collect();
    assert_eq!(topics, [&json!(ROOM), &json!(own)]);
    assert_eq!(frame(&mut eve).await["code"], "forbidden");
    eve.receive(&json!({"type": "subscribe", "topic": TOPIC}).to_string()).await.unwrap();
    assert_eq!(frame(&mut eve).await["code"], "forbidden");
    let error = a.publish(TOPIC, &Push::new("id", "event", json!({}))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    b.disconnect("nobody").await.unwrap();
    assert!(is_idle(&mut eve).await);
    assert_eq!(a.stats().topics, 2);
    assert!(a.topics(10).iter().all(|stats| stats.topic != TOPIC));
    // What another program writes to the topic is ignored.
    let position = comms_ws::backplane::Position { epoch: 0, offset: 1 };
    backplane.forge(TOPIC, position);
    a.disconnect("nobody").await.unwrap();
    assert!(is_idle(&mut eve).await);
}
