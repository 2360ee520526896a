//! Event sourcing: an account whose state is the result of its events.
//!
//! The problem: a table has the last balance. The author of a change, the reason, and the balance before are lost.
//!
//! The solution: commands decide which events happen, and the events are stored. The state is computed from them, at any
//! version. Two commands at the same time cannot both rely on one balance: one of them is a conflict.
//!
//! Prints the states, a refused command, a conflict, the history with its authors, and the snapshot.
//!
//! Run: `cargo run -p examples --example event_sourcing`. Nothing else is needed; the database is a temporary SQLite file.

use anyhow::Context as _;
use comms_core::{
    Error, Message, UnitOfWork,
    clock::{Clock, rfc3339},
    event::{Event, EventSource},
    event_sourcing::{
        Aggregate, Append, At, Audit, AuthType, EventSet, EventStore, Expected, Read, Repository, Snapshots,
        one_of,
    },
};
use comms_outbox::sqlite::{SqliteUnit, Tables};
use examples::open_sqlite;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Deposited {
    cents: u64,
}

impl Event for Deposited {
    const TYPE: &'static str = "account.deposited";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new() // The repository sets the id of the account.
    }
}

#[derive(Serialize, Deserialize)]
struct Withdrawn {
    cents: u64,
}

impl Event for Withdrawn {
    const TYPE: &'static str = "account.withdrawn";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

enum AccountEvent {
    Deposited(Deposited),
    Withdrawn(Withdrawn),
}

impl EventSet for AccountEvent {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        match self {
            Self::Deposited(event) => source.message(event),
            Self::Withdrawn(event) => source.message(event),
        }
    }
    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).event(Self::Deposited).event(Self::Withdrawn).decode()
    }
}

#[derive(Clone, Copy)]
enum Command {
    Deposit(u64),
    Withdraw(u64),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = Command;
    type Event = AccountEvent;

    fn decide(&self, command: Command) -> Result<Vec<AccountEvent>, Error> {
        match command {
            Command::Deposit(cents) => Ok(vec![AccountEvent::Deposited(Deposited { cents })]),
            Command::Withdraw(cents) if cents > self.cents => Err(Error::invalid("the balance is too low")),
            Command::Withdraw(cents) => Ok(vec![AccountEvent::Withdrawn(Withdrawn { cents })]),
        }
    }
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited(event) => self.cents += event.cents,
            AccountEvent::Withdrawn(event) => self.cents -= event.cents,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pool = open_sqlite(&dir.path().join("bank.db")).await?;
    Tables::new().migrate(&pool).await?;
    let unit = SqliteUnit::new(pool, Tables::new());
    let source = EventSource::new("bank", Clock::system());
    let accounts = Repository::<Account, _>::new(unit.clone(), source).snapshots(Snapshots::json(1).every(2));

    let by = |user: &str, reason: &str| accounts.audited(Audit::new(AuthType::AppUser, user).reason(reason));
    by("ann", "salary").run("a-1", Command::Deposit(500)).await?;
    let account = by("ann", "rent").run("a-1", Command::Withdraw(300)).await?;
    println!("version {}: {} cents", account.version, account.state.cents);
    let refused = by("bob", "car").run("a-1", Command::Withdraw(1_000)).await;
    println!("refused: {}", refused.err().context("the balance is too low")?);

    // A writer that has read version 1 comes too late.
    let mut tx = unit.begin().await?;
    let stale = AccountEvent::Withdrawn(Withdrawn { cents: 400 })
        .message(&EventSource::new("bank", Clock::system()))?;
    let (stream, expected) = (accounts.stream("a-1"), Expected::Version(1));
    let append = Append { stream: &stream, expected, events: &[stream.event(&stale)], messages: &[] };
    println!("{}", unit.append(&mut tx, append).await.err().context("version 2 exists")?);
    drop(tx);

    let mut tx = unit.begin().await?;
    for version in [1, 2] {
        let past = accounts.load_at(&mut tx, "a-1", At::Version(version)).await?;
        println!("at version {version}: {} cents", past.state.cents);
    }
    for event in unit.read(&mut tx, &stream, Read::default()).await? {
        let audit = Audit::of(&event.message).context("each event has an author")?;
        let (kind, reason) = (event.message.event_type().unwrap_or(""), audit.reason.unwrap_or_default());
        println!("{} {kind} by {}: {reason}", rfc3339(event.recorded_at), audit.auth_id);
    }
    let snapshot = unit.snapshot(&mut tx, &stream).await?.context("a snapshot every 2 events")?;
    println!("snapshot at version {}: {}", snapshot.version, String::from_utf8_lossy(&snapshot.state));
    Ok(())
}
