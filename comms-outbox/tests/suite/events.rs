//! The event store, beyond its conformance suite.

use std::sync::Arc;

use comms_core::{
    Error, ErrorKind, Message, MessageParts, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    event_sourcing::{
        Aggregate, Append, At, EventSet, EventStore, Expected, Read, Recorded, Repository, Snapshots, Stream,
        one_of,
    },
};
use serde::{Deserialize, Serialize};

use super::{Backend, recorder::Recorder, run, unique, until};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counted {
    by: u64,
}

impl Event for Counted {
    const TYPE: &'static str = "counted";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

impl EventSet for Counted {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        source.message(self)
    }
    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).event(|event: Self| event).decode()
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counter(pub(super) u64);

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = u64;
    type Event = Counted;
    fn decide(&self, by: u64) -> Result<Vec<Counted>, Error> {
        Ok(vec![Counted { by }])
    }
    fn evolve(&mut self, event: &Counted) {
        self.0 += event.by;
    }
}

pub(super) fn counters<U: EventStore>(unit: U) -> Repository<Counter, U> {
    Repository::new(unit, EventSource::new("suite", Clock::system()))
}

fn event(stream: &Stream) -> Message {
    let parts = MessageParts { source: "suite", payload: Some(b"{}"), ..MessageParts::default() };
    stream.event(&Message::new(MessageParts { id: &unique(), ..parts }))
}

async fn append<U: EventStore>(unit: &U, stream: &Stream, events: &[Message]) -> Result<u64, Error> {
    let mut tx = unit.begin().await?;
    let append = Append { stream, expected: Expected::Any, events, messages: &[] };
    let appended = unit.append(&mut tx, append).await?;
    unit.commit(tx).await.map(|()| appended.last)
}

async fn read<U: EventStore>(unit: &U, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
    let mut tx = unit.begin().await?;
    unit.read(&mut tx, stream, read).await
}

/// Eight tasks execute ten commands each on one aggregate. Each is counted once, the message of each is published in the
/// order of the versions, and every state of the past can be loaded.
pub async fn concurrent_commands_lose_no_update<B: Backend<Unit: EventStore>>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let announce = |state: &Counter, _: &[Counted]| {
        let payload = state.0.to_string();
        let parts = MessageParts { source: "suite", topic: "t", key: Some(b"k"), ..MessageParts::default() };
        let message = MessageParts { id: &unique(), payload: Some(payload.as_bytes()), ..parts };
        Ok(vec![Message::new(message)])
    };
    let counters = counters(backend.unit()).announce(announce).snapshots(Snapshots::json(1).every(7));
    let execute = |_| {
        let counters = counters.clone();
        tokio::spawn(async move {
            let mut executed = 0;
            while executed < 10 {
                match counters.run("1", 1).await {
                    Ok(_) => executed += 1,
                    Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
                }
            }
        })
    };
    for task in (0..8).map(execute).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut tx = backend.unit().begin().await.unwrap();
    let loaded = counters.load(&mut tx, "1").await.unwrap();
    assert_eq!((loaded.state.0, loaded.version), (80, 80));
    let snapshot = backend.unit().snapshot(&mut tx, &counters.stream("1")).await.unwrap().unwrap();
    // A command that read the snapshot before another one replaced it stores one earlier than it must.
    assert!((74..=80).contains(&snapshot.version), "{}", snapshot.version);
    for version in [1, 40, 79] {
        let loaded = counters.load_at(&mut tx, "1", At::Version(version)).await.unwrap();
        assert_eq!(loaded.state.0, version);
    }
    drop(tx);
    let relay = run(backend.relay(recorder.clone()));
    until("every message is published", async || recorder.count() >= 80).await;
    relay.stop().await;
    assert_eq!(recorder.first_by_key()["k"], (1..=80).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// The clock of the database was set back after the first event.
pub async fn recorded_times_do_not_decrease<B: Backend<Unit: EventStore>>(future: &str) {
    let (backend, stream) = (B::start().await, Stream::new("counter", "1"));
    let unit = backend.unit();
    append(&unit, &stream, &[event(&stream)]).await.unwrap();
    backend.sql(&format!("UPDATE {{s}}.comms_event SET created_at = {future}")).await;
    append(&unit, &stream, &[event(&stream), event(&stream)]).await.unwrap();
    let events = read(&unit, &stream, Read::default()).await.unwrap();
    let first = events[0].recorded_at;
    assert_eq!(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>(), [first; 3]);
    let at = |at| Read { at: Some(at), ..Read::default() };
    assert_eq!(read(&unit, &stream, at(first)).await.unwrap().len(), 3);
    let before = first - std::time::Duration::from_millis(1);
    assert_eq!(read(&unit, &stream, at(before)).await.unwrap().len(), 0);
}

/// `blob` returns the literal of bytes in SQL.
pub async fn a_stream_with_a_damaged_event_cannot_be_read<B: Backend<Unit: EventStore>>(
    blob: fn(&[u8]) -> String,
) {
    let (backend, stream) = (B::start().await, Stream::new("counter", "1"));
    let unit = backend.unit();
    append(&unit, &stream, &[event(&stream), event(&stream)]).await.unwrap();
    let headers = blob(&[0, 0]);
    backend.sql(&format!("UPDATE {{s}}.comms_event SET headers = {headers} WHERE version = 2")).await;
    let error = read(&unit, &stream, Read::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.to_string().contains("counter/1"), "{error}");
    assert_eq!(read(&unit, &stream, Read { up_to: 1, ..Read::default() }).await.unwrap().len(), 1);
}

pub async fn names_and_events_beyond_the_limits_are_refused<B: Backend<Unit: EventStore>>() {
    let backend = B::start().await;
    let unit = backend.unit();
    let long = "x".repeat(513);
    let longest = Stream::new(&*"c".repeat(512), "i".repeat(512));
    assert_eq!(append(&unit, &longest, &[event(&longest)]).await.unwrap(), 1);
    for (category, id) in [("", "1"), ("counter", ""), (&*long, "1"), ("counter", &*long), ("counter", "a\0")]
    {
        let stream = Stream::new(category, id);
        for events in [vec![], vec![event(&stream)]] {
            let error = append(&unit, &stream, &events).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{category:?} {id:?}");
        }
    }
    let (stream, payload) = (Stream::new("counter", "1"), vec![0; comms_outbox::MESSAGE_LIMIT]);
    let large = event(&stream);
    let large = Message::new(MessageParts { payload: Some(&payload), ..large.parts() });
    for (events, messages) in [(vec![large.clone()], vec![]), (vec![event(&stream)], vec![large])] {
        let mut tx = unit.begin().await.unwrap();
        let append =
            Append { stream: &stream, expected: Expected::Any, events: &events, messages: &messages };
        assert_eq!(unit.append(&mut tx, append).await.unwrap_err().kind, ErrorKind::Invalid);
    }
    assert_eq!(read(&unit, &stream, Read::default()).await.unwrap(), []);
}

/// Two transactions append the same events at the same time, as two processes that handle one message do.
pub async fn one_of_two_equal_appends_is_a_repetition<B: Backend<Unit: EventStore>>() {
    let backend = B::start().await;
    for n in 0..10 {
        let stream = Stream::new("counter", n.to_string());
        let events = Arc::new([event(&stream), event(&stream)]);
        let attempt = |_| {
            let (unit, stream, events) = (backend.unit(), stream.clone(), events.clone());
            tokio::spawn(async move {
                loop {
                    match append(&unit, &stream, &*events).await {
                        Ok(last) => return last,
                        Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
                    }
                }
            })
        };
        for task in (0..2).map(attempt).collect::<Vec<_>>() {
            assert_eq!(task.await.unwrap(), 2);
        }
        assert_eq!(read(&backend.unit(), &stream, Read::default()).await.unwrap().len(), 2);
    }
}
