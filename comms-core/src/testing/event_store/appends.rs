//! The checks of appends.

use super::{append, event, kind, new_stream, read, versions};
use crate::{
    Error, ErrorKind, Headers, Message, MessageParts, UnitOfWork,
    event_sourcing::{Append, Appended, EventStore, Expected, Read, Stream, VersionConflict},
    testing::{
        Broken, UnitFixture,
        check::{ensure_eq, unique},
        outbox::OutboxFixture,
    },
};

const CONFLICT: Option<ErrorKind> = Some(ErrorKind::Conflict);
const INVALID: Option<ErrorKind> = Some(ErrorKind::Invalid);

/// Checks that the versions of each stream count from 1, over several appends of a transaction, and that each part of
/// an event is stored unchanged.
///
/// # Errors
/// Returns [`Broken`] if a version or an event differs.
pub async fn versions_count<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let (unit, first) = (fixture.unit(), new_stream());
    let other_id = Stream::new(first.category.clone(), unique("id"));
    let other_category = Stream::new(unique("category"), first.id.clone());
    let headers: Headers = [("b", &b"1"[..]), ("a", b"\x00\xff"), ("b", b"2")].into_iter().collect();
    for stream in [&first, &other_id, &other_category] {
        let plain = event(stream, "text");
        let binary = MessageParts { headers: headers.view(), payload: Some(b"\xfe\x00"), ..plain.parts() };
        let binary = Message::new(MessageParts { id: &unique("e"), ..binary });
        let empty = Message::new(MessageParts { id: &unique("e"), payload: None, ..plain.parts() });
        let events = [plain, binary, empty];
        let mut tx = unit.begin().await?;
        let one = Append { stream, expected: Expected::NoStream, events: &events[..1], messages: &[] };
        let appended = unit.append(&mut tx, one).await?;
        ensure_eq(appended, new(1, 1), "the first event of a stream has version 1")?;
        let two = Append { stream, expected: Expected::Version(1), events: &events[1..], messages: &[] };
        let appended = unit.append(&mut tx, two).await?;
        ensure_eq(appended, new(2, 3), "a transaction continues its own append")?;
        unit.commit(tx).await?;
        let stored = read(&unit, stream, Read::default()).await?;
        ensure_eq(
            versions(&stored),
            vec![1, 2, 3],
            "a read returns the events in the order of their versions",
        )?;
        let stored: Vec<_> = stored.into_iter().map(|recorded| recorded.message).collect();
        ensure_eq(stored, events.to_vec(), "an event is read as it was appended")?;
    }
    let none = read(&unit, &new_stream(), Read::default()).await?;
    ensure_eq(versions(&none), vec![], "a stream without events has an empty page")
}

/// Checks each expectation against a stream of two events, with events and without.
///
/// # Errors
/// Returns [`Broken`] if an append succeeds at another version, fails at the right one, or its error does not name the
/// version of the stream.
pub async fn another_version_is_a_conflict<F: UnitFixture<Unit: EventStore>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, stream) = (fixture.unit(), new_stream());
    append(&unit, &stream, Expected::NoStream, &[event(&stream, "1"), event(&stream, "2")]).await?;
    for expected in [Expected::NoStream, Expected::Version(0), Expected::Version(1), Expected::Version(3)] {
        for events in [vec![event(&stream, "3")], vec![]] {
            let refused = append(&unit, &stream, expected, &events).await;
            ensure_eq(kind(&refused), CONFLICT, "an append at another version fails with Conflict")?;
            let conflict = refused.as_ref().err().and_then(VersionConflict::of);
            let observed = conflict.map(|conflict| (&conflict.stream, conflict.expected, conflict.actual));
            let guarantee = "the cause of the error is a VersionConflict with the version of the stream";
            ensure_eq(observed, Some((&stream, expected, Some(2))), guarantee)?;
        }
    }
    let guarantee = "an append without events succeeds at the version of the stream";
    for expected in [Expected::Version(2), Expected::Any] {
        ensure_eq(append(&unit, &stream, expected, &[]).await?, new(3, 2), guarantee)?;
    }
    let third = append(&unit, &stream, Expected::Version(2), &[event(&stream, "3")]).await?;
    ensure_eq(third, new(3, 3), "an append succeeds at the version of the stream")?;
    let guarantee = "only the appends that succeeded are stored";
    ensure_eq(versions(&read(&unit, &stream, Read::default()).await?), vec![1, 2, 3], guarantee)
}

/// Checks that events, messages and effect exist after a commit, and that none exists after a rollback.
///
/// # Errors
/// Returns [`Broken`] if one of them exists without the others.
pub async fn events_and_messages_commit_together<F: OutboxFixture + UnitFixture<Unit: EventStore>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, stream, topic) = (fixture.unit(), new_stream(), unique("t"));
    for (payload, commits) in [("dropped", false), ("committed", true)] {
        let (events, messages) = ([event(&stream, payload)], [event(&stream, payload).to(&topic)]);
        let mut tx = unit.begin().await?;
        fixture.write(&mut tx, &topic).await?;
        let expected = Expected::NoStream;
        unit.append(&mut tx, Append { stream: &stream, expected, events: &events, messages: &messages })
            .await?;
        if commits {
            unit.commit(tx).await?;
        }
    }
    let payloads = |messages: &[Message]| -> Vec<String> {
        let text = |m: &Message| String::from_utf8_lossy(m.payload().unwrap_or_default()).into_owned();
        messages.iter().map(text).collect()
    };
    let committed = vec!["committed".to_owned()];
    let stored = read(&unit, &stream, Read::default()).await?;
    let stored: Vec<_> = stored.into_iter().map(|recorded| recorded.message).collect();
    ensure_eq(payloads(&stored), committed.clone(), "only the committed event is stored")?;
    ensure_eq(payloads(&fixture.sent(&topic).await?), committed, "only the committed message is published")?;
    ensure_eq(fixture.count(&topic).await?, 1, "the number of effects after one commit and one rollback is 1")
}

/// Checks that one of sixteen concurrent appends at a version wins, at three versions one after the other, and that the
/// others fail with `Conflict`.
///
/// # Errors
/// Returns [`Broken`] with the number of winners or the kind of another error.
pub async fn one_of_many_wins<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let stream = new_stream();
    for version in 0..3 {
        let results = concurrent_appends(fixture, &stream, Expected::Version(version)).await?;
        let won = results.iter().filter(|result| result.is_ok()).count();
        ensure_eq(won, 1, "the number of concurrent appends at one version that commit is 1")?;
        let lost: Vec<_> = results.iter().filter_map(kind).collect();
        ensure_eq(lost, vec![ErrorKind::Conflict; 15], "the other appends fail with Conflict")?;
    }
    let stored = versions(&read(&fixture.unit(), &stream, Read::default()).await?);
    ensure_eq(stored, vec![1, 2, 3], "the events of the winners are stored")
}

/// Checks that sixteen concurrent appends at any version commit, and leave no gap.
///
/// # Errors
/// Returns [`Broken`] if an append fails, or the versions are not 1 to 16.
pub async fn any_version_leaves_no_gap<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let stream = new_stream();
    let mut given = Vec::new();
    for result in concurrent_appends(fixture, &stream, Expected::Any).await? {
        given.push(result?.last);
    }
    given.sort_unstable();
    ensure_eq(given, (1..=16).collect(), "each append at any version has a version of its own")?;
    let stored = versions(&read(&fixture.unit(), &stream, Read::default()).await?);
    ensure_eq(stored, (1..=16).collect(), "the versions of the stream have no gap")
}

/// Checks that a repeated append, with the version of the first one or with any, has its result and writes nothing.
///
/// # Errors
/// Returns [`Broken`] if an event or a message is written twice, or the result differs.
pub async fn repetition_writes_nothing<F: OutboxFixture + UnitFixture<Unit: EventStore>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, stream, topic) = (fixture.unit(), new_stream(), unique("t"));
    append(&unit, &stream, Expected::NoStream, &[event(&stream, "1")]).await?;
    let events = [event(&stream, "2"), event(&stream, "3")];
    let attempt = async |expected: Expected| {
        let messages = [event(&stream, "m").to(&topic)];
        let mut tx = unit.begin().await?;
        let append = Append { stream: &stream, expected, events: &events, messages: &messages };
        let appended = unit.append(&mut tx, append).await?;
        unit.commit(tx).await.map(|()| appended)
    };
    ensure_eq(attempt(Expected::Version(1)).await?, new(2, 3), "the first append is not a repetition")?;
    append(&unit, &stream, Expected::Version(3), &[event(&stream, "4")]).await?;
    let repeated = Appended { repeated: true, ..new(2, 3) };
    for expected in [Expected::Version(1), Expected::Any] {
        let guarantee = "a repetition has the versions of the first append";
        ensure_eq(attempt(expected).await?, repeated, guarantee)?;
    }
    let stored = versions(&read(&unit, &stream, Read::default()).await?);
    ensure_eq(stored, vec![1, 2, 3, 4], "a repetition writes no event")?;
    ensure_eq(fixture.sent(&topic).await?.len(), 1, "a repetition writes no message")
}

/// Checks that an append is refused if some of its events are stored, or in another order, at another version or in
/// another stream.
///
/// # Errors
/// Returns [`Broken`] if such an append succeeds, fails with another kind, or writes an event.
pub async fn identity_belongs_to_one_event<F: UnitFixture<Unit: EventStore>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, stream, other) = (fixture.unit(), new_stream(), new_stream());
    let (one, two) = (event(&stream, "1"), event(&stream, "2"));
    append(&unit, &stream, Expected::NoStream, &[one.clone(), two.clone()]).await?;
    let faults = [
        ("a part of the events", &stream, Expected::Version(2), vec![two.clone(), event(&stream, "3")]),
        (
            "a part of the events, at any version",
            &stream,
            Expected::Any,
            vec![one.clone(), event(&stream, "3")],
        ),
        ("another order", &stream, Expected::Any, vec![two.clone(), one.clone()]),
        ("another version", &stream, Expected::Version(2), vec![one.clone()]),
        ("another stream", &other, Expected::NoStream, vec![other.event(&one)]),
    ];
    for (fault, stream, expected, events) in faults {
        let refused = append(&unit, stream, expected, &events).await;
        ensure_eq((fault, kind(&refused)), (fault, CONFLICT), "a stored identity is refused with Conflict")?;
    }
    let stored = versions(&read(&unit, &stream, Read::default()).await?);
    ensure_eq(stored, vec![1, 2], "an append that was refused writes nothing")?;
    let stored = versions(&read(&unit, &other, Read::default()).await?);
    ensure_eq(stored, vec![], "an append that was refused writes nothing to another stream")
}

/// Checks that events of another stream, and two events with one identity, are refused with `Invalid`.
///
/// # Errors
/// Returns [`Broken`] if such an append succeeds or fails with another kind.
pub async fn faulty_appends_are_refused<F: UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let (unit, stream, one) = (fixture.unit(), new_stream(), new_stream());
    let twice = event(&stream, "1");
    let keyless = Message::new(MessageParts { key: None, ..twice.parts() });
    let faults = [
        ("an event of another stream", vec![event(&one, "1")]),
        ("an event of another category", vec![twice.to("another")]),
        ("an event without a key", vec![keyless]),
        ("an event twice", vec![twice.clone(), twice]),
    ];
    for (fault, events) in faults {
        let refused = append(&unit, &stream, Expected::Any, &events).await;
        ensure_eq((fault, kind(&refused)), (fault, INVALID), "a faulty append is refused with Invalid")?;
    }
    Ok(())
}

/// Appends sixteen events, each in a task and a transaction of its own.
async fn concurrent_appends<F: UnitFixture<Unit: EventStore>>(
    fixture: &F,
    stream: &Stream,
    expected: Expected,
) -> Result<Vec<Result<Appended, Error>>, Broken> {
    let spawn = |_| {
        let (unit, stream) = (fixture.unit(), stream.clone());
        tokio::spawn(async move { append(&unit, &stream, expected, &[event(&stream, "x")]).await })
    };
    let mut results = Vec::new();
    for task in (0..16).map(spawn).collect::<Vec<_>>() {
        results.push(task.await?);
    }
    Ok(results)
}

const fn new(first: u64, last: u64) -> Appended {
    Appended { first, last, repeated: false }
}
