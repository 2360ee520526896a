//! The books of the services: what each has done for an order, in the database of the saga.

use std::{collections::BTreeMap, future::Future};

use comms_core::Error;
use comms_outbox::saga::SagaStore;

use super::orders::{PAYMENT, SHIPPING, STOCK, service};

/// SQL of the services. Every value is text.
pub trait Books: SagaStore {
    fn execute(
        &self,
        tx: &mut Self::Tx,
        text: &str,
        values: &[&str],
    ) -> impl Future<Output = Result<u64, Error>> + Send;
    /// Returns the first column of the rows.
    fn column(
        &self,
        tx: &mut Self::Tx,
        text: &str,
        values: &[&str],
    ) -> impl Future<Output = Result<Vec<String>, Error>> + Send;
}

/// `record` is what makes a service idempotent. `effect` has no unique key, so that a repeated effect is visible.
pub const TABLES: [&str; 2] = [
    "CREATE TABLE record (run TEXT, service TEXT, status TEXT, PRIMARY KEY (run, service))",
    "CREATE TABLE effect (run TEXT, what TEXT)",
];

/// How a service handles the next command or event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accept,
    Refuse,
    /// Does it, and sends no reply.
    Silent,
}

/// Does something for `run` at most once, and returns whether it is done. A repeated request has the same result. A
/// request after its compensation is refused.
pub async fn perform<B: Books>(
    books: &B,
    tx: &mut B::Tx,
    run: &str,
    letter: char,
    answer: Answer,
) -> Result<bool, Error> {
    let status = status(books, tx, run, letter).await?;
    if status != "new" {
        return Ok(status == "executed");
    }
    let accepts = answer != Answer::Refuse;
    set(books, tx, run, letter, if accepts { "executed" } else { "refused" }).await?;
    if accepts {
        effect(books, tx, run, done(letter)).await?;
    }
    Ok(accepts)
}

/// Undoes what [`perform`] did for `run`, at most once, and returns whether it is undone. What was never done is refused
/// from now on.
pub async fn undo<B: Books>(
    books: &B,
    tx: &mut B::Tx,
    run: &str,
    letter: char,
    answer: Answer,
) -> Result<bool, Error> {
    let status = status(books, tx, run, letter).await?;
    if status != "undone" {
        if answer == Answer::Refuse {
            return Ok(false);
        }
        set(books, tx, run, letter, "undone").await?;
    }
    if status == "executed" {
        effect(books, tx, run, undone(letter)).await?;
    }
    Ok(true)
}

/// Locks the record of a service, and returns its status.
pub async fn status<B: Books>(books: &B, tx: &mut B::Tx, run: &str, letter: char) -> Result<String, Error> {
    let insert = "INSERT INTO record (run, service, status) VALUES ($1, $2, 'new') ON CONFLICT DO NOTHING";
    let lock = "UPDATE record SET status = status WHERE run = $1 AND service = $2";
    let values = [run, service(letter)];
    books.execute(tx, insert, &values).await?;
    books.execute(tx, lock, &values).await?;
    let read = "SELECT status FROM record WHERE run = $1 AND service = $2";
    let statuses = books.column(tx, read, &values).await?;
    statuses.into_iter().next().ok_or_else(|| Error::internal("the record is missing"))
}

pub async fn set<B: Books>(
    books: &B,
    tx: &mut B::Tx,
    run: &str,
    letter: char,
    status: &str,
) -> Result<(), Error> {
    let update = "UPDATE record SET status = $3 WHERE run = $1 AND service = $2";
    books.execute(tx, update, &[run, service(letter), status]).await.map(drop)
}

pub async fn effect<B: Books>(books: &B, tx: &mut B::Tx, run: &str, what: &str) -> Result<(), Error> {
    let insert = "INSERT INTO effect (run, what) VALUES ($1, $2)";
    books.execute(tx, insert, &[run, what]).await.map(drop)
}

const fn done(letter: char) -> &'static str {
    match letter {
        PAYMENT => "charged",
        STOCK => "reserved",
        _ => "shipped",
    }
}

const fn undone(letter: char) -> &'static str {
    match letter {
        PAYMENT => "refunded",
        STOCK => "released",
        _ => "returned",
    }
}

/// Checks the books of an ended run: all services have done their part once, or everything that was done is undone once.
/// The coordinator has called `on_transition` once for each change, and sent each command once.
pub async fn check<B: Books>(books: &B, run: &str, services: &[char]) {
    let mut tx = books.begin().await.unwrap();
    let mut column = async |text: &str| books.column(&mut tx, text, &[run]).await.unwrap();
    let phase = column("SELECT phase FROM comms_saga WHERE id = $1").await;
    let effects = counted(column("SELECT what FROM effect WHERE run = $1").await);
    let sequences = column(
        "SELECT CAST(sequence AS TEXT) FROM comms_saga_log WHERE id = $1 ORDER BY comms_saga_log.sequence",
    )
    .await;
    // Repaired timers are no change of the run.
    let repairs =
        column("SELECT id FROM comms_saga_log WHERE id = $1 AND CAST(entry AS TEXT) LIKE '%\"repair\"%'")
            .await;
    let sent =
        counted(column("SELECT msg_id FROM comms_outbox WHERE msg_id LIKE 'order/' || $1 || '/%'").await);
    let timers = column("SELECT timer FROM comms_saga_timer WHERE id = $1").await;
    let repeated: Vec<_> = effects.iter().chain(&sent).filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "run {run}: more than once: {repeated:?}");
    let expected: Vec<_> = (1..=sequences.len()).map(|n| n.to_string()).collect();
    assert_eq!(sequences, expected, "run {run}: one line for each change");
    let changes = effects.keys().filter(|what| what.starts_with("change")).count();
    assert_eq!(
        changes,
        sequences.len() - repairs.len(),
        "run {run}: one call of on_transition for each change"
    );
    assert!(timers.is_empty(), "run {run}: an ended run has no timer: {timers:?}");
    let did = |what: &str| effects.contains_key(what);
    for letter in [PAYMENT, STOCK, SHIPPING] {
        let is_held = did(done(letter)) && !did(undone(letter));
        let expected = phase == ["completed"] && services.contains(&letter);
        assert_eq!(is_held, expected, "run {run}: {phase:?}, {effects:?}");
    }
    assert!(phase == ["completed"] || phase == ["failed"], "run {run}: {phase:?}");
}

fn counted(values: Vec<String>) -> BTreeMap<String, usize> {
    values.into_iter().fold(BTreeMap::new(), |mut counts, value| {
        *counts.entry(value).or_default() += 1;
        counts
    })
}
