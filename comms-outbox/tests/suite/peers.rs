//! Cases that broke other outbox implementations: savepoints, ids that look alike, rows that an operator deletes, names
//! with special characters.

use comms_core::{Claim, Claimed, Error, Inbox, Outbox, UnitOfWork};

use super::{
    Backend, message, message_to,
    recorder::{Recorder, payload},
    run, send, until,
};

fn claim(id: &str) -> Claim {
    Claim { subscriber: "s".into(), handler: "h".into(), source: "test".into(), id: id.into() }
}

/// A part of the transaction is rolled back to a savepoint, and the rest is committed.
pub async fn messages_rolled_back_to_a_savepoint_are_not_published<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    unit.enqueue(&mut tx, &[message("k", "before")]).await.unwrap();
    backend.statement(&mut tx, "SAVEPOINT part").await;
    unit.enqueue(&mut tx, &[message("k", "taken back")]).await.unwrap();
    assert_eq!(unit.claim(&mut tx, &[claim("1")]).await.unwrap(), [Claimed::New]);
    backend.statement(&mut tx, "ROLLBACK TO SAVEPOINT part").await;
    assert_eq!(unit.claim(&mut tx, &[claim("1")]).await.unwrap(), [Claimed::New]);
    unit.enqueue(&mut tx, &[message("k", "inside")]).await.unwrap();
    backend.statement(&mut tx, "RELEASE SAVEPOINT part").await;
    unit.enqueue(&mut tx, &[message("k", "after")]).await.unwrap();
    unit.commit(tx).await.unwrap();
    send(&backend, &[message("k", "last")]).await;
    let relay = run(backend.relay(recorder.clone()));
    until("the last one", async || recorder.payloads().last().is_some_and(|last| last == "last")).await;
    relay.stop().await;
    assert_eq!(recorder.payloads(), ["before", "inside", "after", "last"]);
}

/// A comparison that ignores case, trailing spaces or the form of an accent would treat a new message as a duplicate.
pub async fn ids_that_look_alike_are_different_messages<B: Backend>() {
    let backend = B::start().await;
    let unit = backend.unit();
    let claims = ["a", "A", "a ", " a", "\u{e9}", "e\u{301}", "ß", "ss", "1", "01", "1.0"].map(claim);
    for answer in [Claimed::New, Claimed::Seen] {
        let mut tx = unit.begin().await.unwrap();
        assert_eq!(unit.claim(&mut tx, &claims).await.unwrap(), vec![answer; claims.len()]);
        unit.commit(tx).await.unwrap();
    }
}

/// An operator deletes the row of an obsolete parked message, and releases the messages that wait behind it.
pub async fn a_deleted_parked_message_does_not_block_its_key<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    recorder.judge(|message| match payload(message).as_str() {
        "bad" => Err(Error::invalid("no")),
        _ => Ok(()),
    });
    let relay = run(backend.relay(recorder.clone()));
    send(&backend, &[message("k", "bad")]).await;
    until("it is parked", async || backend.parked().await.len() == 1).await;
    send(&backend, &[message("k", "2")]).await;
    until("both are parked", async || backend.parked().await.len() == 2).await;
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    let delete =
        "DELETE FROM {s}.comms_outbox WHERE id = (SELECT min(outbox_id) FROM {s}.comms_outbox_parked)";
    backend.statement(&mut tx, delete).await;
    unit.commit(tx).await.unwrap();
    backend.release(Some("k")).await;
    send(&backend, &[message("k", "3")]).await;
    until("the key continues", async || recorder.payloads().iter().any(|payload| payload == "3")).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    relay.stop().await;
    let good: Vec<_> = recorder.payloads().into_iter().filter(|payload| payload != "bad").collect();
    assert_eq!(good, ["2", "3"]);
}

/// A relay's name may contain characters with a meaning in SQL.
pub async fn a_relay_may_have_any_name<B: Backend>() {
    let backend = B::start().await;
    for (n, name) in ["o'brien", r"back\slash\'", "$1 $2 {s}", "名前", "--"].into_iter().enumerate() {
        let recorder = Recorder::new();
        let owner = format!("{name} $1");
        let relay = run(backend.relay(recorder.clone()).name(name).owner(owner));
        send(&backend, &[message("k", "x")]).await;
        until(name, async || recorder.count() == n + 1).await;
        relay.stop().await;
    }
}

/// The text of a failure is long and contains NUL, which PostgreSQL refuses. The failure of a message and that of a
/// topic are stored nevertheless.
pub async fn a_reason_that_the_database_cannot_store_is_sanitized<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let text = format!("no \0 {}", "ж".repeat(100_000));
    let healed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (reason, heals) = (text.clone(), healed.clone());
    recorder.judge(move |message| match message.topic() {
        "bad" => Err(Error::invalid(reason.clone())),
        "away" if !heals.load(std::sync::atomic::Ordering::SeqCst) => {
            Err(Error::misconfigured(reason.clone()))
        }
        _ => Ok(()),
    });
    let relay = run(backend.relay(recorder.clone()));
    let came = |text: &'static str| recorder.payloads().iter().any(|payload| payload == text);
    send(&backend, &[message_to("bad", "k", "1"), message_to("away", "k", "2")]).await;
    until("the message is parked", async || backend.parked().await.len() == 1).await;
    let parked = backend.parked().await.remove(0);
    assert!(parked.error.contains("no  ж") && parked.error.len() <= 1_024, "{}", parked.error);
    send(&backend, &[message("k", "3")]).await;
    until("the others go on", async || came("3")).await;
    relay.stop().await;
    // The hold is stored, and the next process begins with it.
    healed.store(true, std::sync::atomic::Ordering::SeqCst);
    let before = recorder.count();
    let relay = run(backend.relay(recorder.clone()));
    until("the topic continues", async || recorder.payloads()[before..].iter().any(|text| text == "2")).await;
    relay.stop().await;
    assert_eq!(recorder.payloads()[before..], ["2"]);
}
