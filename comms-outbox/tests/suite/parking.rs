//! A refused message is parked with later messages of its key. Other keys continue.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{Error, ErrorKind, Message};
use comms_outbox::ParkedState;

use super::{
    Backend, message,
    recorder::{Recorder, payload},
    run, send, until,
};

/// Returns a recorder that refuses the payloads in the set permanently.
fn refusing(refused: &[&str]) -> (Arc<Recorder>, Arc<Mutex<HashSet<String>>>) {
    refusing_after(Duration::ZERO, refused)
}

fn refusing_after(delay: Duration, refused: &[&str]) -> (Arc<Recorder>, Arc<Mutex<HashSet<String>>>) {
    let recorder = Recorder::with(delay, 100_000);
    let set: Arc<Mutex<HashSet<_>>> = Arc::new(Mutex::new(refused.iter().map(|p| (*p).to_owned()).collect()));
    let refused = set.clone();
    recorder.judge(move |message: &Message| {
        if refused.lock().unwrap().contains(&payload(message)) {
            return Err(Error::invalid("schema \0 unknown"));
        }
        Ok(())
    });
    (recorder, set)
}

async fn parked_ids<B: Backend>(backend: &B) -> Vec<i64> {
    backend.parked().await.iter().map(|p| p.outbox_id).collect()
}

pub async fn a_refused_message_parks_its_key_until_released<B: Backend>() {
    let backend = B::start().await;
    let (recorder, refused) = refusing(&["a2"]);
    // With a page of one row, later rows are read after the refusal has been processed.
    let relay = run(backend.relay(recorder.clone()).page(1).in_flight(1));
    for (key, text) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("a", "a4"), ("b", "b2")] {
        send(&backend, &[message(key, text)]).await;
    }
    until("b is delivered", async || recorder.payloads().contains(&"b2".to_owned())).await;
    until("three are parked", async || backend.parked().await.len() == 3).await;
    assert_eq!(recorder.payloads(), ["a1", "a2", "b1", "b2"]);
    let parked = backend.parked().await;
    assert_eq!(parked[0].error_kind.as_deref(), Some("invalid"));
    assert!(parked[0].error.contains("schema  unknown"), "{}", parked[0].error);
    assert_eq!((parked[1].attempts, &parked[1].error_kind), (0, &None), "stands behind");
    assert!(parked.iter().all(|p| p.topic == "t" && p.key.as_deref() == Some(b"a")));
    assert!(parked.iter().all(|p| p.state == ParkedState::Parked && p.parked_at > Duration::from_secs(1)));

    // The next relay loads the parked keys.
    relay.stop().await;
    let relay = run(backend.relay(recorder.clone()));
    send(&backend, &[message("a", "a5"), message("b", "b3")]).await;
    until("b is delivered", async || recorder.payloads().contains(&"b3".to_owned())).await;
    until("four are parked", async || backend.parked().await.len() == 4).await;
    assert_eq!(recorder.count(), 5);

    // A release before the cause is fixed: the message is refused again, and the whole key is parked again.
    assert_eq!(backend.release(Some("a")).await, 4);
    until("it is refused again", async || {
        let parked = backend.parked().await;
        parked.len() == 1 && parked[0].attempts == 2 && parked[0].state == ParkedState::Parked
            || parked.len() == 4 && parked[0].attempts == 2
    })
    .await;

    refused.lock().unwrap().clear();
    backend.release(Some("a")).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    send(&backend, &[message("a", "a6")]).await;
    until("the key flows again", async || recorder.payloads().last().is_some_and(|p| p == "a6")).await;
    relay.stop().await;
}

/// A full publisher takes a part of a page. Rows that wait when their key is parked are parked behind the refused row.
pub async fn rows_read_before_the_refusal_are_parked_too<B: Backend>() {
    let backend = B::start().await;
    let recorder = Recorder::with(Duration::from_millis(50), 1);
    recorder.judge(|message: &Message| match payload(message).as_str() {
        "a1" => Err(Error::invalid("schema unknown")),
        _ => Ok(()),
    });
    send(&backend, &[message("a", "a1"), message("a", "a2"), message("b", "b1"), message("a", "a3")]).await;
    let relay = run(backend.relay(recorder.clone()));
    until("three are parked", async || backend.parked().await.len() == 3).await;
    until("b is delivered", async || recorder.payloads().contains(&"b1".to_owned())).await;
    send(&backend, &[message("b", "b2")]).await;
    until("b continues", async || recorder.payloads().contains(&"b2".to_owned())).await;
    assert_eq!(recorder.payloads(), ["a1", "b1", "b2"]);
    relay.stop().await;
}

/// With a publisher that has one message of a key in flight at a time, the order of the key is kept through park and
/// release.
pub async fn a_released_key_keeps_its_order<B: Backend>() {
    let backend = B::start().await;
    let (recorder, refused) = refusing_after(Duration::from_millis(30), &["1"]);
    let relay = run(backend.relay(recorder.clone()).page(1).in_flight(1));
    for n in 0..10 {
        send(&backend, &[message("k", &n.to_string())]).await;
    }
    until("nine are parked", async || backend.parked().await.len() == 9).await;
    relay.stop().await;
    refused.lock().unwrap().clear();
    backend.release(Some("k")).await;
    // Further messages of the key are parked behind it while it is released, in pages smaller than the number of parked
    // rows.
    for n in 10..20 {
        send(&backend, &[message("k", &n.to_string())]).await;
    }
    let relay = run(backend.relay(recorder.clone()).page(3));
    until("all is delivered", async || recorder.payloads().last().is_some_and(|p| p == "19")).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    let mut expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    expected.insert(1, "1".to_owned());
    assert_eq!(recorder.payloads(), expected, "once refused, then all in order");
    relay.stop().await;
}

pub async fn a_message_without_key_is_parked_alone<B: Backend>() {
    let backend = B::start().await;
    let (recorder, refused) = refusing(&["2"]);
    let relay = run(backend.relay(recorder.clone()));
    for n in 1..=4 {
        send(&backend, &[message("", &n.to_string())]).await;
    }
    until("other keys continue", async || recorder.count() == 4).await;
    until("one is parked", async || parked_ids(&backend).await.len() == 1).await;
    refused.lock().unwrap().clear();
    assert_eq!(backend.release(Some("x")).await, 0);
    assert_eq!(backend.release(None).await, 1);
    until("it is released", async || backend.parked().await.is_empty()).await;
    assert_eq!(recorder.payloads().last().unwrap(), "2");
    relay.stop().await;
}

/// The relay crashes at random points while keys are refused, parked and released. No row is lost.
pub async fn crashes_around_parking_lose_nothing<B: Backend>() {
    const ROWS: usize = 200;
    let clock = comms_core::clock::Clock::system();
    let backend = B::start().await;
    let (recorder, refused) = refusing(&["7", "33", "70", "101"]);
    let rows: Vec<_> = (0..ROWS).map(|n| message(&(n % 8).to_string(), &n.to_string())).collect();
    send(&backend, &rows).await;
    let builder = || backend.relay(recorder.clone()).owner("the same").page(9);
    for crash in 0..30 {
        if crash == 15 {
            refused.lock().unwrap().clear();
        }
        let relay = run(builder());
        tokio::time::sleep(Duration::from_secs_f64(0.08 * clock.random_unit())).await;
        for key in ["7", "1", "6", "5"] {
            backend.release(Some(key)).await;
        }
        relay.crash().await;
    }
    let relay = run(builder());
    for key in ["7", "1", "6", "5"] {
        backend.release(Some(key)).await;
    }
    until("nothing is parked", async || {
        for key in ["7", "1", "6", "5"] {
            backend.release(Some(key)).await;
        }
        backend.parked().await.is_empty()
            && recorder.first_by_key().values().map(Vec::len).sum::<usize>() == ROWS
    })
    .await;
    relay.stop().await;
    let delivered: HashSet<_> = recorder.payloads().into_iter().collect();
    assert_eq!(delivered.len(), ROWS);
}

pub async fn transient_failures_park_nothing<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let failed = Arc::new(Mutex::new(HashSet::new()));
    recorder.judge(move |message| {
        let first = failed.lock().unwrap().insert(message.id().to_owned());
        if first { Err(Error::new(ErrorKind::NotExecuted, "once")) } else { Ok(()) }
    });
    send(&backend, &[message("a", "1"), message("a", "2")]).await;
    let relay = run(backend.relay(recorder.clone()));
    until("both came twice", async || recorder.count() >= 4).await;
    relay.stop().await;
    assert!(backend.parked().await.is_empty());
}
