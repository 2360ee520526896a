//! The repository over the memory unit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    Delivery, ErrorKind, MessageParts, Outcome, Scoped, UnitOfWork,
    clock::Clock,
    context::Context,
    testing::{CommitFaults, FaultyUnit, MemoryTx, MemoryUnit},
    transactional,
    transport::BoxHandler,
    wire,
};

fn source() -> EventSource {
    EventSource::new("bank", Clock::system())
}

fn repository(unit: &MemoryUnit) -> Repository<Account, MemoryUnit> {
    Repository::new(unit.clone(), source())
}

async fn events(unit: &MemoryUnit, id: &str) -> Vec<Recorded> {
    let mut tx = unit.begin().await.unwrap();
    unit.read(&mut tx, &Stream::new("account", id), Read::default()).await.unwrap()
}

async fn snapshot(unit: &MemoryUnit, id: &str) -> Option<Snapshot> {
    let mut tx = unit.begin().await.unwrap();
    unit.snapshot(&mut tx, &Stream::new("account", id)).await.unwrap()
}

#[tokio::test]
async fn a_command_appends_events_that_carry_their_origin() {
    let unit = MemoryUnit::new();
    let accounts = repository(&unit);
    let mut context = Context::root(&Clock::system());
    context.correlation_id = Some("c-1".into());
    let executed = context.scope(accounts.run("1", Command::Deposit(vec![1, 2]))).await.unwrap();
    assert_eq!((executed.state.cents, executed.version), (3, 2));
    assert_eq!(executed.events, [deposited(1), deposited(2)]);
    let audit = Audit::new(AuthType::AppUser, "ann").reason("moved away");
    let closed = accounts.audited(audit.clone()).run("1", Command::Close).await.unwrap();
    assert!(closed.state.closed && closed.version == 3);

    let stored = events(&unit, "1").await;
    let parts = |n: usize| stored[n].message.parts();
    assert_eq!((parts(0).source, parts(0).topic, parts(0).key), ("bank", "account", Some(&b"1"[..])));
    assert_eq!(stored[0].message.event_type(), Some("account.deposited.v2"));
    assert_eq!(parts(0).headers.text(wire::CE_CORRELATION_ID), Some("c-1"));
    assert_eq!((Audit::of(&stored[0].message), Audit::of(&stored[2].message)), (None, Some(audit)));
    let foreign = stored[2].message.with_headers(|headers| headers.insert(wire::CE_AUTH_TYPE, "robot"));
    assert_eq!(Audit::of(&foreign).unwrap().auth_type, AuthType::Unknown);
    let mut tx = unit.begin().await.unwrap();
    assert_eq!(accounts.load(&mut tx, "2").await.unwrap(), Loaded::default());
}

#[tokio::test]
async fn a_command_without_events_writes_nothing() {
    let unit = MemoryUnit::new();
    let announce = |_: &Account, _: &[AccountEvent]| Err(Error::internal("must not be called"));
    let executed = repository(&unit).announce(announce).run("1", Command::Deposit(vec![])).await.unwrap();
    assert_eq!((executed.version, executed.events.len()), (0, 0));
}

#[tokio::test]
async fn messages_are_announced_with_the_events() {
    let unit = MemoryUnit::new();
    let announce = |state: &Account, events: &[AccountEvent]| {
        let payload = format!("{} events, {} cents", events.len(), state.cents);
        let parts =
            MessageParts { topic: "balance", payload: Some(payload.as_bytes()), ..Default::default() };
        Ok(vec![Message::new(parts)])
    };
    let accounts = repository(&unit).announce(announce);
    accounts.run("1", Command::Deposit(vec![1, 2])).await.unwrap();
    unit.fail_next_commit(Error::not_executed("lost"));
    assert!(accounts.run("1", Command::Deposit(vec![1])).await.is_err());
    let sent: Vec<_> = unit.messages().iter().map(|m| m.payload().unwrap().to_vec()).collect();
    assert_eq!(sent, [b"2 events, 3 cents"]);
    assert_eq!(events(&unit, "1").await.len(), 2);
}

#[tokio::test]
async fn the_state_at_a_version_or_a_time_is_loaded() {
    let clock = Clock::manual(Duration::from_secs(100));
    let unit = MemoryUnit::with_clock(clock.clone());
    let accounts = repository(&unit).snapshots(Snapshots::json(1).every(2));
    for cents in [1, 10, 100] {
        accounts.run("1", Command::Deposit(vec![cents])).await.unwrap();
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(snapshot(&unit, "1").await.unwrap().version, 2);
    let mut tx = unit.begin().await.unwrap();
    let seconds = |seconds| At::Time(Duration::from_secs(seconds));
    for (at, cents, version) in [
        (At::Version(0), 0, 0),
        (At::Version(1), 1, 1),
        (At::Version(2), 11, 2),
        (At::Version(3), 111, 3),
        (At::Version(9), 111, 3),
        (seconds(99), 0, 0),
        (seconds(100), 1, 1),
        (seconds(119), 11, 2),
        (seconds(120), 111, 3),
    ] {
        let loaded = accounts.load_at(&mut tx, "1", at).await.unwrap();
        assert_eq!((loaded.state.cents, loaded.version), (cents, version), "{at:?}");
    }
}

/// Snapshots with a state that no event explains show which loads use them.
#[tokio::test]
async fn a_snapshot_is_used_if_it_has_the_schema_and_decodes() {
    let unit = MemoryUnit::new();
    repository(&unit).run("1", Command::Deposit(vec![1; 5])).await.unwrap();
    let with = |schema| repository(&unit).snapshots(Snapshots::json(schema).every(0));
    let save = async |schema, state: &'static str| {
        let mut tx = unit.begin().await.unwrap();
        let snapshot = Snapshot { schema, version: 4, state: state.into() };
        unit.save_snapshot(&mut tx, &Stream::new("account", "1"), &snapshot).await.unwrap();
        unit.commit(tx).await.unwrap();
    };
    let cents = async |accounts: Repository<Account, MemoryUnit>| {
        let mut tx = unit.begin().await.unwrap();
        accounts.load(&mut tx, "1").await.unwrap().state.cents
    };
    save(1, r#"{"cents":1000,"closed":false}"#).await;
    assert_eq!(cents(with(1)).await, 1001, "the snapshot and the event after it");
    assert_eq!(cents(with(2)).await, 5, "another schema");
    assert_eq!(cents(repository(&unit)).await, 5, "no snapshots");
    save(1, "{").await;
    assert_eq!(cents(with(1)).await, 5, "it does not decode");
}

#[tokio::test]
async fn a_snapshot_that_is_newer_than_its_stream_is_named() {
    let unit = MemoryUnit::new();
    let accounts = repository(&unit).snapshots(Snapshots::json(1));
    accounts.run("1", Command::Deposit(vec![1, 2])).await.unwrap();
    let mut tx = unit.begin().await.unwrap();
    let state = serde_json::to_vec(&Account { cents: 9, closed: false }).unwrap();
    let snapshot = Snapshot { schema: 1, version: 9, state: state.into() };
    unit.save_snapshot(&mut tx, &Stream::new("account", "1"), &snapshot).await.unwrap();
    unit.commit(tx).await.unwrap();
    let error = accounts.run("1", Command::Deposit(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.to_string().contains("Delete the snapshot"), "{error}");
}

#[tokio::test]
async fn a_snapshot_is_stored_when_it_is_due() {
    let unit = MemoryUnit::new();
    let mut stored = Vec::new();
    let accounts = repository(&unit).snapshots(Snapshots::json(7).every(3));
    for events in [1, 1, 1, 2, 5, 2] {
        accounts.run("1", Command::Deposit(vec![1; events])).await.unwrap();
        stored.push(snapshot(&unit, "1").await.map(|snapshot| snapshot.version));
    }
    assert_eq!(stored, [None, None, Some(3), Some(3), Some(10), Some(10)]);
    let state = snapshot(&unit, "1").await.unwrap();
    assert_eq!((state.schema, &state.state[..]), (7, &br#"{"cents":10,"closed":false}"#[..]));
    // A deployment with another schema replaces the snapshot at its next command.
    repository(&unit).snapshots(Snapshots::json(8).every(3)).run("1", Command::Close).await.unwrap();
    let state = snapshot(&unit, "1").await.unwrap();
    assert_eq!((state.schema, state.version), (8, 13));
}

#[tokio::test]
async fn an_event_that_does_not_decode_is_a_fault_of_the_service() {
    let unit = MemoryUnit::new();
    let stream = Stream::new("account", "1");
    let broken = |event_type: &str| {
        let message = source().message(&Closed {}).unwrap();
        let message = message.with_headers(|headers| headers.insert(wire::CE_TYPE, event_type));
        stream.event(&Message::new(MessageParts { payload: Some(b"?"), ..message.parts() }))
    };
    for (event_type, kind) in
        [("account.closed.v1", ErrorKind::Internal), ("account.closed.v2", ErrorKind::Misconfigured)]
    {
        let mut tx = unit.begin().await.unwrap();
        let events = [broken(event_type)];
        let append = Append { stream: &stream, expected: Expected::Any, events: &events, messages: &[] };
        unit.append(&mut tx, append).await.unwrap();
        let error = repository(&unit).load(&mut tx, "1").await.unwrap_err();
        assert_eq!(error.kind, kind, "{}", error.chain());
        assert!(error.to_string().contains("version 1 of the stream account/1"), "{error}");
    }
}

/// Two hundred deposits in sixteen tasks: each is in the balance once, although most of them lose an attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_commands_lose_no_update() {
    let unit = MemoryUnit::new();
    let deposit = |_| {
        let accounts = repository(&unit).snapshots(Snapshots::json(1).every(10));
        tokio::spawn(async move {
            let mut deposited = 0;
            while deposited < 10 {
                match accounts.run("1", Command::Deposit(vec![1])).await {
                    Ok(_) => deposited += 1,
                    Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
                }
            }
        })
    };
    for task in (0..16).map(deposit).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut tx = unit.begin().await.unwrap();
    let loaded = repository(&unit).load(&mut tx, "1").await.unwrap();
    assert_eq!((loaded.state.cents, loaded.version), (160, 160));
}

#[tokio::test]
async fn a_conflict_is_attempted_five_times_and_a_refusal_once() {
    let unit = FaultyUnit::new(MemoryUnit::new());
    let accounts = Repository::<Account, _>::new(unit.clone(), source());
    let fail = |times: usize| (0..times).for_each(|_| unit.fail_next_commit(Error::conflict("deadlock")));
    fail(4);
    assert_eq!(accounts.run("1", Command::Deposit(vec![1])).await.unwrap().version, 1);
    fail(5);
    let error = accounts.run("1", Command::Deposit(vec![1])).await.unwrap_err();
    assert_eq!((error.kind, unit.forget_commit_faults()), (ErrorKind::Conflict, 0));
    unit.fail_next_commit(Error::indeterminate("the connection was closed"));
    let error = accounts.run("1", Command::Deposit(vec![1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate, "another attempt could deposit twice");

    let calls = Arc::new(AtomicUsize::new(0));
    let refuse = Repository::<Refusing, _>::new(unit, source());
    assert_eq!(refuse.run("1", calls.clone()).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Refuses each command with `Conflict`, and counts them.
#[derive(Debug, Default)]
struct Refusing;

impl Aggregate for Refusing {
    const CATEGORY: &'static str = "refusing";
    type Command = Arc<AtomicUsize>;
    type Event = AccountEvent;
    fn decide(&self, calls: Arc<AtomicUsize>) -> Result<Vec<AccountEvent>, Error> {
        calls.fetch_add(1, Ordering::SeqCst);
        Err(Error::conflict("never"))
    }
    fn evolve(&mut self, _: &AccountEvent) {}
}

/// The command of a message: the inbox and the events commit together.
#[tokio::test]
async fn a_handler_executes_the_command_of_a_message_once() {
    let unit = MemoryUnit::new();
    let accounts = repository(&unit);
    let handler = BoxHandler::new(transactional(unit.clone(), move |_: Closed, mut tx: Scoped<MemoryTx>| {
        let accounts = accounts.clone();
        async move { accounts.execute(&mut tx, "1", Command::Deposit(vec![5])).await.map(drop) }
    }));
    let delivery = Delivery::new(source().message(&Closed {}).unwrap(), "group");
    unit.fail_next_commit(Error::conflict("deadlock"));
    assert_eq!(handler.handle(delivery.clone()).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(handler.handle(delivery.clone()).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(delivery).await.unwrap(), Outcome::Duplicate);
    assert_eq!(events(&unit, "1").await.len(), 1);
}
