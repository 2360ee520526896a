//! The conformance suite of [`Outbox`]: a message exists if and only if its transaction commits, unchanged and in
//! order.

use std::{future::Future, ops::Range};

use crate::{Error, Headers, Message, MessageParts, Outbox, UnitOfWork};

use super::{
    Broken, UnitFixture,
    check::{Suite, ensure_eq, unique},
};

/// A database under test whose outbox can be read.
pub trait OutboxFixture: UnitFixture<Unit: Outbox> {
    /// Returns the messages to `topic` in the order in which they are published, after every committed message was
    /// published.
    ///
    /// A fixture runs a relay with a [`MemoryPublisher`](super::MemoryPublisher), or reads the outbox table.
    ///
    /// # Errors
    /// Returns the error of the database or of the relay. The suite reports every error, whatever its kind.
    fn sent(&self, topic: &str) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;
}

/// Checks every guarantee.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Outbox");
    suite
        .check(
            "messages exist if and only if their transaction commits",
            message_and_effect_commit_together(fixture),
        )
        .await;
    suite
        .check("messages of one key keep the order of their transactions", key_keeps_its_order(fixture))
        .await;
    suite.check("every part of a message is stored unchanged", message_is_stored_unchanged(fixture)).await;
    suite.finish()
}

/// Checks that message and effect exist after a commit, and that neither exists after a rollback.
///
/// # Errors
/// Returns [`Broken`] if the published messages or the number of effects differ from the committed ones.
pub async fn message_and_effect_commit_together<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, topic) = (fixture.unit(), unique("t"));
    for (payload, commits) in [("dropped", false), ("committed", true)] {
        let mut tx = unit.begin().await?;
        fixture.write(&mut tx, &topic).await?;
        unit.enqueue(&mut tx, &[message(&topic, "k", payload)]).await?;
        if commits {
            unit.commit(tx).await?;
        }
    }
    let expected = vec!["committed".to_owned()];
    ensure_eq(payloads(&fixture.sent(&topic).await?), expected, "only the committed message is published")?;
    ensure_eq(fixture.count(&topic).await?, 1, "the number of effects after one commit and one rollback is 1")
}

/// Checks the order of one key within a call, between the calls of a transaction, and between transactions.
///
/// # Errors
/// Returns [`Broken`] if the published messages differ in number or order from the enqueued ones.
pub async fn key_keeps_its_order<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, topic) = (fixture.unit(), unique("t"));
    let numbered =
        |range: Range<usize>| -> Vec<_> { range.map(|n| message(&topic, "k", &n.to_string())).collect() };
    for n in 0..10 {
        let mut tx = unit.begin().await?;
        unit.enqueue(&mut tx, &numbered(n * 5..n * 5 + 3)).await?;
        unit.enqueue(&mut tx, &[]).await?;
        unit.enqueue(&mut tx, &numbered(n * 5 + 3..n * 5 + 5)).await?;
        unit.commit(tx).await?;
    }
    let expected = (0..50).map(|n| n.to_string()).collect();
    let guarantee = "each message of one key is published once, in the order in which it was enqueued";
    ensure_eq(payloads(&fixture.sent(&topic).await?), expected, guarantee)
}

/// Checks messages with repeated headers, with bytes that are not UTF-8, without a key, without a payload, and with an
/// empty key and an empty payload.
///
/// # Errors
/// Returns [`Broken`] if a published message differs from the enqueued one.
pub async fn message_is_stored_unchanged<F: OutboxFixture>(fixture: &F) -> Result<(), Broken> {
    let (unit, topic) = (fixture.unit(), unique("t"));
    let headers: Headers =
        [("b", &b"1"[..]), ("a", b"\x00\xff"), ("b", b"2"), ("", b"")].into_iter().collect();
    let (empty, plain) = (message(&topic, "", ""), message(&topic, "k", "text"));
    let (headers, key, payload) = (headers.view(), Some(&b"\x00\xff"[..]), Some(&b"\xfe\x00"[..]));
    let binary = MessageParts { key, headers, payload, ..plain.parts() };
    let tombstone = MessageParts { payload: None, ..plain.parts() };
    let keyless = MessageParts { key: None, ..plain.parts() };
    for parts in [binary, tombstone, keyless, empty.parts()] {
        let expected = Message::new(MessageParts { id: &unique("m"), ..parts });
        let mut tx = unit.begin().await?;
        unit.enqueue(&mut tx, std::slice::from_ref(&expected)).await?;
        unit.commit(tx).await?;
        let sent = fixture.sent(&topic).await?;
        let observed = sent.into_iter().find(|message| message.id() == expected.id());
        ensure_eq(
            observed,
            Some(expected),
            "a message is published with the id and parts that were enqueued",
        )?;
    }
    Ok(())
}

fn payloads(messages: &[Message]) -> Vec<String> {
    let text =
        |message: &Message| String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
    messages.iter().map(text).collect()
}

fn message(topic: &str, key: &str, payload: &str) -> Message {
    Message::new(MessageParts {
        source: "suite",
        id: &unique("m"),
        topic,
        key: Some(key.as_bytes()),
        payload: Some(payload.as_bytes()),
        ..MessageParts::default()
    })
}
