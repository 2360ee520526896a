//! The event store.

use comms_core::{
    ErrorKind, Message, MessageParts, UnitOfWork,
    event_sourcing::{Append, EventStore, Expected, Stream, VersionConflict},
};

use super::{Backend, Postgres, relay::blob, suite, until};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_event_store_conforms() {
    suite::conformance::event_store::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn concurrent_commands_lose_no_update() {
    suite::events::concurrent_commands_lose_no_update::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn concurrent_commands_have_one_effect_for_each_key() {
    suite::commands::concurrent_commands_have_one_effect_for_each_key::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn recorded_times_do_not_decrease() {
    suite::events::recorded_times_do_not_decrease::<Postgres>("now() + interval '1 hour'").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_stream_with_a_damaged_event_cannot_be_read() {
    suite::events::a_stream_with_a_damaged_event_cannot_be_read::<Postgres>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn names_and_events_beyond_the_limits_are_refused() {
    suite::events::names_and_events_beyond_the_limits_are_refused::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn one_of_two_equal_appends_is_a_repetition() {
    suite::events::one_of_two_equal_appends_is_a_repetition::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_append_that_is_not_flushed_is_refused() {
    let backend = Postgres::start().await;
    let (unit, stream) = (backend.unit(), Stream::new("c", "1"));
    let mut tx = unit.begin().await.unwrap();
    backend.statement(&mut tx, "SET LOCAL synchronous_commit = off").await;
    let append = Append { stream: &stream, expected: Expected::NoStream, events: &[], messages: &[] };
    let error = unit.append(&mut tx, append).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("synchronous_commit"), "{error}");
}

/// The second append waits for the first, whose event has the same identity in another stream.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_concurrent_append_of_the_same_identity_is_a_conflict() {
    let backend = Postgres::start().await;
    let unit = backend.unit();
    let streams = ["1", "2"].map(|id| Stream::new("c", id));
    let event = MessageParts { source: "s", id: "1", ..MessageParts::default() };
    let [first, second] = streams.each_ref().map(|stream| [stream.event(&Message::new(event))]);
    let mut tx = unit.begin().await.unwrap();
    let expected = Expected::NoStream;
    let append = Append { stream: &streams[0], expected, events: &first, messages: &[] };
    unit.append(&mut tx, append).await.unwrap();
    let waiting = tokio::spawn({
        let (unit, stream) = (unit.clone(), streams[1].clone());
        async move {
            let mut tx = unit.begin().await.unwrap();
            let append = Append { stream: &stream, expected, events: &second, messages: &[] };
            unit.append(&mut tx, append).await
        }
    });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1";
    let like = format!("%{}\".comms_event%", backend.schema);
    until("the second append waits", async || {
        sqlx::query_scalar::<_, i64>(blocked).bind(&like).fetch_one(&backend.pool).await.unwrap() == 1
    })
    .await;
    unit.commit(tx).await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!((error.kind, VersionConflict::of(&error)), (ErrorKind::Conflict, None));
    assert!(error.to_string().contains("stored already"), "{error}");
}
