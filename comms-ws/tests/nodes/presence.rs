//! The principals that are present in a topic on all nodes.

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock};
use comms_ws::{Encoding, Hub, Session, close};

use crate::{
    backplane::{Access, Faults, Faulty},
    support::{ROOM, end, hub, open, until},
};

const SECOND: Duration = Duration::from_secs(1);

fn nodes() -> (Faulty, Clock, Hub, Hub) {
    let clock = Clock::manual(Duration::from_secs(1_000_000));
    let backplane = Faulty::with_clock(1, clock.clone());
    let (a, b) = (hub(&backplane, &clock), hub(&backplane, &clock));
    (backplane, clock, a, b)
}

/// Waits until exactly `expected` are present.
async fn until_present(hub: &Hub, expected: &[&str]) {
    until(&format!("{expected:?}"), async || hub.present(ROOM, 100).await.unwrap() == expected).await;
}

#[tokio::test]
async fn a_principal_is_present_from_its_first_session_to_its_last() {
    let (_, _, a, b) = nodes();
    assert!(a.present(ROOM, 100).await.unwrap().is_empty());
    let (first, second) = (open(&a, "ann").await, open(&a, "ann").await);
    let (third, ben) = (open(&b, "ann").await, open(&b, "ben").await);
    for hub in [&a, &b] {
        until_present(hub, &["ann", "ben"]).await;
    }
    assert_eq!(b.present(ROOM, 1).await.unwrap(), ["ann"], "at most one");
    assert_eq!(
        (a.present_here(ROOM), b.present_here(ROOM)),
        (vec!["ann".into()], vec!["ann".into(), "ben".into()])
    );
    drop((third, ben));
    until_present(&a, &["ann"]).await;
    drop(first);
    // The report of another principal follows a report of the second session, if there were one.
    let cem = open(&a, "cem").await;
    until_present(&b, &["ann", "cem"]).await;
    drop(second);
    until_present(&b, &["cem"]).await;
    drop(cem);
    until_present(&b, &[]).await;
}

#[tokio::test]
async fn a_client_that_leaves_the_topic_is_not_present() {
    let (_, _, a, b) = nodes();
    let mut ann = open(&a, "ann").await;
    until_present(&b, &["ann"]).await;
    for _ in 0..3 {
        ann.receive(&format!(r#"{{"type":"unsubscribe","topic":"{ROOM}"}}"#)).await.unwrap();
        until_present(&b, &[]).await;
        ann.receive(&format!(r#"{{"type":"subscribe","topic":"{ROOM}"}}"#)).await.unwrap();
        until_present(&b, &["ann"]).await;
    }
}

/// A node that died cannot remove its principals.
#[test]
fn the_principals_of_a_node_that_died_are_listed_for_a_minute() {
    let node = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (lives, dies) = (node(), node());
    let (_, clock, a, b) = nodes();
    let _ann = lives.block_on(open(&a, "ann"));
    // Its session neither ends nor leaves.
    let _ben = std::mem::ManuallyDrop::new(dies.block_on(async {
        let ben = open(&b, "ben").await;
        until_present(&b, &["ben"]).await;
        ben
    }));
    drop(dies);
    lives.block_on(async {
        until_present(&a, &["ann", "ben"]).await;
        for wait in [20 * SECOND, 20 * SECOND, 20 * SECOND - Duration::from_millis(1)] {
            clock.advance(wait);
            until_present(&a, &["ann", "ben"]).await;
        }
        clock.advance(Duration::from_millis(1));
        until_present(&a, &["ann"]).await;
        for _ in 0..10 {
            clock.advance(20 * SECOND);
            until_present(&a, &["ann"]).await;
        }
    });
}

#[tokio::test]
async fn what_changed_while_the_backplane_was_away_is_reported_after() {
    for access in [Access::Fails, Access::Hangs] {
        let (backplane, clock, a, b) = nodes();
        let (ann, _ben) = (open(&a, "ann").await, open(&a, "ben").await);
        until_present(&b, &["ann", "ben"]).await;
        backplane.set(Faults { presence: access, ..Faults::default() });
        drop(ann);
        let _cem = open(&a, "cem").await;
        assert_eq!(a.present_here(ROOM), ["ben", "cem"]);
        if access == Access::Fails {
            assert_eq!(a.present(ROOM, 10).await.unwrap_err().kind, ErrorKind::Indeterminate);
        }
        for _ in 0..20 {
            clock.advance(SECOND);
            tokio::task::yield_now().await;
        }
        backplane.set(Faults::default());
        until(&format!("{access:?}"), async || {
            clock.advance(SECOND / 10);
            b.present(ROOM, 10).await.unwrap() == ["ben", "cem"]
        })
        .await;
    }
}

/// The node dies while the backplane is away, after a principal has left it.
#[tokio::test]
async fn a_principal_that_leaves_while_the_backplane_is_away_does_not_stay() {
    let (backplane, clock, a, b) = nodes();
    let ann = open(&a, "ann").await;
    until_present(&b, &["ann"]).await;
    backplane.set(Faults { presence: Access::Fails, ..Faults::default() });
    drop((ann, a));
    clock.advance(59 * SECOND);
    backplane.set(Faults::default());
    assert_eq!(b.present(ROOM, 10).await.unwrap(), ["ann"]);
    clock.advance(SECOND);
    assert!(b.present(ROOM, 10).await.unwrap().is_empty());
}

/// The backplane loses its entries. The next report has them, and that after an interruption comes at once.
#[tokio::test]
async fn entries_that_the_backplane_lost_are_reported_again() {
    for is_noticed in [false, true] {
        let (backplane, clock, a, b) = nodes();
        let (_ann, _ben) = (open(&a, "ann").await, open(&b, "ben").await);
        until_present(&a, &["ann", "ben"]).await;
        backplane.change_epoch();
        assert!(a.present(ROOM, 10).await.unwrap().is_empty());
        if is_noticed {
            backplane.recover()
        } else {
            clock.advance(20 * SECOND)
        }
        until_present(&a, &["ann", "ben"]).await;
    }
}

#[tokio::test]
async fn a_drain_removes_the_principals_of_its_node_at_once() {
    let (backplane, _, a, b) = nodes();
    let (mut ann, _ben) = (open(&a, "ann").await, open(&b, "ben").await);
    until_present(&b, &["ann", "ben"]).await;
    // The drain waits for the answer of the backplane.
    backplane.set(Faults { is_slow: true, ..Faults::default() });
    let session = tokio::spawn(async move { end(&mut ann).await.code });
    a.drain(30 * SECOND).await;
    assert_eq!(session.await.unwrap(), close::GOING_AWAY);
    assert_eq!(b.present(ROOM, 10).await.unwrap(), ["ben"]);
}

#[tokio::test]
async fn a_drain_does_not_wait_long_for_a_backplane_that_is_away() {
    let (backplane, clock, a, b) = nodes();
    let mut ann = open(&a, "ann").await;
    until_present(&b, &["ann"]).await;
    backplane.set(Faults { presence: Access::Hangs, ..Faults::default() });
    let session = tokio::spawn(async move { end(&mut ann).await.code });
    let begin = clock.now();
    let drain = tokio::spawn(async move { a.drain(3_600 * SECOND).await });
    until("the end of the drain", async || {
        clock.advance(SECOND / 10);
        drain.is_finished()
    })
    .await;
    assert_eq!(session.await.unwrap(), close::GOING_AWAY);
    assert!(clock.now() - begin < 3_600 * SECOND);
}

/// The broken topic comes first in the alphabet, and has more principals than one batch.
#[tokio::test]
async fn a_topic_that_cannot_be_reported_does_not_hold_up_others() {
    let (backplane, clock, a, b) = nodes();
    backplane.set(Faults { broken: Some("room/0"), ..Faults::default() });
    let broken = |n: usize| Session::new(n.to_string(), vec!["room/0".to_owned()]);
    let _broken: Vec<_> = (0..1_100).map(|n| a.open(broken(n), Encoding::Json, None).unwrap()).collect();
    until("all are in the topic", async || a.present_here("room/0").len() == 1_100).await;
    let _ann = open(&a, "ann").await;
    // Longer than the lifetime of an entry.
    for _ in 0..90 {
        clock.advance(SECOND);
        until_present(&b, &["ann"]).await;
    }
}

#[tokio::test]
async fn a_topic_needs_the_option() {
    let (_, _, a, _) = nodes();
    for topic in ["other", "$hub/disconnect"] {
        assert_eq!(a.present(topic, 10).await.unwrap_err().kind, ErrorKind::Invalid);
    }
}
