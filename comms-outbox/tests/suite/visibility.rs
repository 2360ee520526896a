//! Which rows become visible to a relay, and in which order.

use std::{sync::Arc, time::Duration};

use comms_core::{Headers, Message, MessageParts, Outbox, UnitOfWork};

use super::{Backend, message, message_to, recorder::Recorder, run, send, unique, until};

pub async fn rolled_back_rows_are_never_relayed<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let relay = run(backend.relay(recorder.clone()));
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    unit.enqueue(&mut tx, &[message("k", "never")]).await.unwrap();
    drop(tx);
    send(&backend, &[message("k", "3")]).await;
    until("three rows", async || recorder.count() >= 3).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(recorder.payloads(), ["1", "2", "3"]);
    relay.stop().await;
}

/// Each writer locks a key, increments its number, and enqueues the number. The numbers of a key arrive in order,
/// whatever the relay does meanwhile.
pub async fn a_key_keeps_its_order_under_concurrent_writers<B: Backend>() {
    const KEYS: usize = 4;
    const WRITERS: usize = 6;
    const EACH: usize = 25;
    let (backend, recorder) = (B::start().await, Recorder::with(Duration::from_millis(3), 64));
    let relay = run(backend.relay(recorder.clone()).page(7).in_flight(20));
    let counters = Arc::new(std::sync::Mutex::new([0; KEYS]));
    let write = |writer: usize| {
        let (backend, counters) = (backend.clone(), counters.clone());
        tokio::spawn(async move {
            let unit = backend.unit();
            for n in 0..EACH {
                let key = (writer + n) % KEYS;
                let mut tx = unit.begin().await.unwrap();
                // The transaction gets its id before it locks the key, so an order by transaction id would be wrong.
                backend.add_effect(&mut tx, "x").await;
                backend.lock_key(&mut tx, &key.to_string()).await;
                let count = {
                    let mut counters = counters.lock().unwrap();
                    counters[key] += 1;
                    counters[key]
                };
                unit.enqueue(&mut tx, &[message(&key.to_string(), &count.to_string())]).await.unwrap();
                unit.commit(tx).await.unwrap();
            }
        })
    };
    for writer in (0..WRITERS).map(write).collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    until("all rows", async || recorder.count() >= WRITERS * EACH).await;
    relay.stop().await;
    assert_eq!(recorder.count(), WRITERS * EACH, "without a crash no row is redelivered");
    for (key, payloads) in recorder.first_by_key() {
        let expected: Vec<_> = (1..=payloads.len()).map(|n| n.to_string()).collect();
        assert_eq!(payloads, expected, "key {key}");
    }
}

pub async fn every_part_of_a_message_survives<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let mut headers = Headers::new();
    headers.append("b", "first");
    headers.append("a", vec![0xff, 0x00, 0xfe]);
    headers.append("b", "second");
    headers.append("", "");
    let parts = MessageParts { source: "исток", topic: "t", ..MessageParts::default() };
    let sent = [
        MessageParts { payload: Some(b"no key"), ..parts },
        MessageParts { key: Some(b""), payload: Some(b""), ..parts },
        MessageParts { key: Some(&[0, 0xff, b'\'']), headers: headers.view(), ..parts },
    ];
    let messages = sent.map(|parts| Message::new(MessageParts { id: &unique(), ..parts }));
    send(&backend, &messages).await;
    let relay = run(backend.relay(recorder.clone()));
    until("three rows", async || recorder.count() == 3).await;
    assert_eq!(recorder.seen(), messages);
    relay.stop().await;
}

pub async fn each_relay_publishes_all_messages_of_its_topics<B: Backend>() {
    let backend = B::start().await;
    let (one, both) = (Recorder::new(), Recorder::new());
    let first = run(backend.relay(one.clone()).name("one").topics(["a"]).page(2));
    let second = run(backend.relay(both.clone()).name("both"));
    let messages: Vec<_> =
        (0..20).map(|n| message_to(if n % 5 == 0 { "a" } else { "b" }, "k", &n.to_string())).collect();
    send(&backend, &messages).await;
    until("rows of a", async || one.count() == 4).await;
    until("all rows", async || both.count() == 20).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(one.payloads(), ["0", "5", "10", "15"]);
    assert_eq!(both.count(), 20);
    first.stop().await;
    second.stop().await;
}

/// A backlog is read in pages. The test also prints the throughput of this build.
pub async fn a_backlog_arrives_whole_and_in_order<B: Backend>() {
    const ROWS: usize = 20_000;
    let (backend, recorder) = (B::start().await, Recorder::new());
    for chunk in 0..ROWS / 1_000 {
        let messages: Vec<_> = (chunk * 1_000..(chunk + 1) * 1_000)
            .map(|n| message(&(n % 100).to_string(), &format!("{n:0200}")))
            .collect();
        send(&backend, &messages).await;
    }
    let started = std::time::Instant::now();
    let relay = run(backend.relay(recorder.clone()));
    until("the backlog", async || recorder.count() >= ROWS).await;
    let elapsed = started.elapsed();
    relay.stop().await;
    println!("{ROWS} rows of 200 bytes in {elapsed:?}: {:.0} rows/s", ROWS as f64 / elapsed.as_secs_f64());
    let numbers: Vec<usize> = recorder.payloads().iter().map(|p| p.parse().unwrap()).collect();
    assert_eq!(numbers, (0..ROWS).collect::<Vec<_>>());
}
