//! The promises of [`Outbox`]: a message is there if and only if its transaction commits, whole and in order.

use std::future::Future;

use bytes::Bytes;

use crate::{Error, Headers, Message, Outbox, UnitOfWork};

use super::{
    Broken, UnitFixture,
    check::{Suite, ensure_eq, unique},
};

/// A database whose outbox can be read.
pub trait OutboxFixture: UnitFixture<Unit: Outbox> {
    /// The messages to `topic` in the order in which they leave, once all that has been committed has left:
    /// by a relay into a [`MemoryPublisher`](super::MemoryPublisher), or read from the table.
    ///
    /// # Errors
    /// The database's.
    fn sent(&self, topic: &str) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;
}

/// Tries every promise.
///
/// # Errors
/// The promises that were broken.
pub async fn all<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Outbox");
    suite.check("messages exist if and only if their transaction commits", with_the_effect(fixture)).await;
    suite.check("messages of one key leave in the order of their transactions", in_order(fixture)).await;
    suite.check("every part of a message survives", whole(fixture)).await;
    suite.end()
}

/// Neither message nor effect is there without the other.
///
/// # Errors
/// How one is.
pub async fn with_the_effect<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, to) = (fixture.unit(), unique("t"));
    for (payload, commits) in [("dropped", false), ("committed", true)] {
        let mut tx = unit.begin().await?;
        fixture.write(&mut tx, &to).await?;
        unit.enqueue(&mut tx, &[message(&to, "k", payload)]).await?;
        if commits {
            unit.commit(tx).await?;
        }
    }
    ensure_eq(payloads(&fixture.sent(&to).await?), ["committed"].map(String::from).to_vec(), "what left")?;
    ensure_eq(fixture.count(&to).await?, 1, "how many effects there are")
}

/// Within a call, between the calls of a transaction, and from one transaction to the next.
///
/// # Errors
/// How they do not.
pub async fn in_order<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, to) = (fixture.unit(), unique("t"));
    let numbered = |range: std::ops::Range<usize>| -> Vec<_> {
        range.map(|n| message(&to, "k", &n.to_string())).collect()
    };
    for n in 0..10 {
        let mut tx = unit.begin().await?;
        unit.enqueue(&mut tx, &numbered(n * 5..n * 5 + 3)).await?;
        unit.enqueue(&mut tx, &[]).await?;
        unit.enqueue(&mut tx, &numbered(n * 5 + 3..n * 5 + 5)).await?;
        unit.commit(tx).await?;
    }
    let expected = (0..50).map(|n| n.to_string()).collect();
    ensure_eq(payloads(&fixture.sent(&to).await?), expected, "what left")
}

/// Headers that repeat, bytes that are not text, no key, no payload, an empty payload.
///
/// # Errors
/// What does not.
pub async fn whole<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, to) = (fixture.unit(), unique("t"));
    let mut full = message(&to, "k", "");
    full.key = Some(Bytes::from_static(b"\x00\xff"));
    full.payload = Some(Bytes::from_static(b"\xfe\x00"));
    full.headers = [("b", &b"1"[..]), ("a", b"\x00\xff"), ("b", b"2"), ("", b"")].into_iter().collect();
    let tombstone = Message { payload: None, ..message(&to, "k", "") };
    let keyless = Message { key: None, ..message(&to, "k", "no key") };
    for expected in [full, tombstone, keyless, message(&to, "", "")] {
        let mut tx = unit.begin().await?;
        unit.enqueue(&mut tx, std::slice::from_ref(&expected)).await?;
        unit.commit(tx).await?;
        let sent = fixture.sent(&to).await?;
        let found = sent.into_iter().find(|message| message.id == expected.id);
        ensure_eq(found, Some(expected), "what left")?;
    }
    Ok(())
}

fn payloads(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| {
        String::from_utf8_lossy(message.payload.as_deref().unwrap_or_default()).into_owned()
    };
    messages.iter().map(text).collect()
}

fn message(to: &str, key: &str, payload: &str) -> Message {
    Message {
        source: "suite".into(),
        id: unique("m").into(),
        topic: to.into(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: Headers::new(),
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
    }
}
