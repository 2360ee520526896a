//! The rebuild of a projection.

use comms_core::{
    Message, MessageParts, UnitOfWork,
    event_sourcing::{Append, EventStore, Expected, Stream},
};

use super::{
    Postgres,
    suite::{
        Backend,
        projection::{Projections, all, append, project},
    },
    unique, until,
};

/// A new revision reads every event: over gaps in the ids, beside rolled-back and open transactions, with a restart in
/// between, and while others append.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_rebuild_reads_every_event_once() {
    let backend = Postgres::start().await;
    let (unit, stream) = (backend.unit(), Stream::new("order", "late"));
    let gap = "SELECT setval(pg_get_serial_sequence('{s}.comms_event', 'id'), nextval(
        pg_get_serial_sequence('{s}.comms_event', 'id')) + 100000000)";
    let event = || {
        let id = unique();
        [stream.event(&Message::new(MessageParts { source: "suite", id: &id, ..MessageParts::default() }))]
    };
    let append_late = |events| Append { stream: &stream, expected: Expected::Any, events, messages: &[] };
    append(&backend, "order", "a", 10).await;
    backend.sql(gap).await;
    append(&backend, "order", "a", 10).await;
    // In progress while the rebuild begins, with an id among the first ones.
    let mut late = unit.begin().await.unwrap();
    unit.append(&mut late, append_late(&event())).await.unwrap();
    let rolled_back = Stream::new("order", "rolled-back");
    let mut tx = unit.begin().await.unwrap();
    let events: Vec<_> = (0..500).map(|_| rolled_back.event(&event()[0])).collect();
    let all_back = Append { stream: &rolled_back, expected: Expected::Any, events: &events, messages: &[] };
    unit.append(&mut tx, all_back).await.unwrap();
    drop(tx);
    backend.sql(gap).await;
    for _ in 0..20 {
        append(&backend, "order", "a", 1).await;
    }
    let builder = || backend.projection("p").owner("the same").batch(3, 1 << 20);
    let running = project(builder().apply(all(&backend)));
    until("it has begun", async || backend.effects().await.len() >= 9).await;
    running.crash().await;
    append(&backend, "order", "a", 10).await;
    let running = project(builder().apply(all(&backend)));
    until("the committed events", async || backend.effects().await.len() == 50).await;
    unit.commit(late).await.unwrap();
    until("the late event", async || backend.effects().await.len() == 51).await;
    running.stop().await;
    let mut effects = backend.effects().await;
    assert_eq!(effects.pop().as_deref(), Some("order/late@1"));
    let expected: Vec<_> = (1..=50).map(|version| format!("order/a@{version}")).collect();
    assert_eq!(effects, expected);
}
