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

/// One type of event with two variants. With a type for each event, each has a version of its own.
#[derive(Debug, Serialize, Deserialize)]
enum AccountEvent {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

impl Event for AccountEvent {
    const TYPE: &'static str = "account.changed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new() // The repository sets the id of the account.
    }
}

impl EventSet for AccountEvent {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        source.message(self)
    }
    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).event(|event: Self| event).decode()
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
            Command::Deposit(cents) => Ok(vec![AccountEvent::Deposited { cents }]),
            Command::Withdraw(cents) if cents > self.cents => Err(Error::invalid("the balance is too low")),
            Command::Withdraw(cents) => Ok(vec![AccountEvent::Withdrawn { cents }]),
        }
    }
    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
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
    let accounts =
        Repository::<Account, _>::new(unit.clone(), source.clone()).snapshots(Snapshots::json(1).every(2));

    let by = |user: &str, reason: &str| accounts.audited(Audit::new(AuthType::AppUser, user).reason(reason));
    by("ann", "salary").run("a-1", Command::Deposit(500)).await?;
    let account = by("ann", "rent").run("a-1", Command::Withdraw(300)).await?;
    println!("version {}: {} cents", account.version, account.state.cents);
    let refused = by("bob", "car").run("a-1", Command::Withdraw(1_000)).await;
    println!("refused: {}", refused.err().context("the balance is too low")?);

    // A writer that has read version 1 comes too late.
    let mut tx = unit.begin().await?;
    let stale = AccountEvent::Withdrawn { cents: 400 }.message(&source)?;
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
        let (changed, reason) = (AccountEvent::decode(&event.message)?, audit.reason.unwrap_or_default());
        println!("{} {changed:?} by {}: {reason}", rfc3339(event.recorded_at), audit.auth_id);
    }
    let snapshot = unit.snapshot(&mut tx, &stream).await?.context("a snapshot every 2 events")?;
    println!("snapshot at version {}: {}", snapshot.version, String::from_utf8_lossy(&snapshot.state));
    Ok(())
}
