//! Projections: the pages that they read, and the waits of queries.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    ErrorKind, Message, MessageParts, Scoped, UnitOfWork,
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
};

use super::{
    Tx,
    projection::{Projections, all, append, project},
    unique, until,
};

/// Events of different sizes, also larger than a page, in pages of a few events: each is applied once, in order.
pub async fn events_of_all_sizes_are_applied_in_order<B: Projections>() {
    const BYTES: usize = 4_000;
    let backend = B::start().await;
    let unit = backend.unit();
    for n in 0..120 {
        // Large ones alone, several behind one another, and at the edges of pages; then many small ones.
        let size =
            if n < 60 { [10, 10, 10, 900, 10, BYTES + 1, BYTES, 10, 10, 10, 3 * BYTES][n % 11] } else { 10 };
        let stream = Stream::new("order", "a");
        let payload = vec![b'x'; size];
        let parts = MessageParts { source: "suite", payload: Some(&payload), ..MessageParts::default() };
        let event = [stream.event(&Message::new(MessageParts { id: &unique(), ..parts }))];
        let mut tx = unit.begin().await.unwrap();
        let append = Append { stream: &stream, expected: Expected::Any, events: &event, messages: &[] };
        unit.append(&mut tx, append).await.unwrap();
        unit.commit(tx).await.unwrap();
    }
    let most = Arc::new(Mutex::new(Vec::new()));
    let (pages, effects) = (most.clone(), all(&backend));
    let apply = move |events: Vec<Recorded>, tx: Scoped<Tx<B>>| {
        pages.lock().unwrap().push(events.iter().map(|event| event.message.size()).collect::<Vec<_>>());
        effects(events, tx)
    };
    let running = project(backend.projection("p").batch(8, BYTES).apply(apply));
    until("every event", async || backend.effects().await.len() >= 120).await;
    running.stop().await;
    let expected: Vec<_> = (1..=120).map(|version| format!("order/a@{version}")).collect();
    assert_eq!(backend.effects().await, expected);
    for page in most.lock().unwrap().iter() {
        let before_last = page.iter().rev().skip(1).sum::<usize>();
        assert!(page.len() <= 8 && before_last < BYTES, "{page:?}");
    }
}

/// The handle waits for the live revision, also while it changes, and for its own if a higher one is live, as after the
/// rollback of a program.
pub async fn a_wait_is_for_the_live_revision<B: Projections>() {
    let backend = B::start().await;
    let builder = |revision: u32| backend.projection("p").revision(revision).apply(all(&backend));
    let (first, second) = (builder(1).build().unwrap().handle(), builder(2).build().unwrap().handle());
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(5));
    let written = append(&backend, "order", "a", 1).await;
    let running = project(builder(2));
    until("revision 2 is live", async || backend.live_revision("p").await == Some(2)).await;
    second.wait_for(written, long).await.unwrap();
    second.wait_for_committed(long).await.unwrap();
    assert_eq!(first.wait_for(written, short).await.unwrap_err().kind, ErrorKind::NotExecuted);
    assert_eq!(first.wait_for_committed(short).await.unwrap_err().kind, ErrorKind::NotExecuted);
    backend.set_live_revision("p", 1).await;
    assert_eq!(second.wait_for(written, short).await.unwrap_err().kind, ErrorKind::NotExecuted);
    assert_eq!(second.wait_for_committed(short).await.unwrap_err().kind, ErrorKind::NotExecuted);
    // It becomes the live one again during the wait.
    let (wait, ()) = tokio::join!(second.wait_for(written, long), async {
        tokio::time::sleep(short).await;
        backend.set_live_revision("p", 2).await;
    });
    wait.unwrap();
    running.stop().await;
    let running = project(builder(1));
    let written = append(&backend, "order", "a", 1).await;
    first.wait_for(written, long).await.unwrap();
    first.wait_for_committed(long).await.unwrap();
    assert_eq!(backend.live_revision("p").await, Some(2));
    assert_eq!(second.wait_for(written, short).await.unwrap_err().kind, ErrorKind::NotExecuted);
    running.stop().await;
}
