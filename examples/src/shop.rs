//! The shop of the saga examples: the events of its services, and the database that they share in one process.

use std::time::Duration;

use comms_core::{Error, Scoped, clock::Clock, event::Event, saga::Effect};
use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder,
    saga::{RunChange, RunFilter, RunInput, StoredRun},
    sql_error,
    sqlite::{RelayStore, SqliteTx, SqliteUnit, Tables},
};
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use tempfile::TempDir;

use crate::open_sqlite;

/// The pause between two reads of the runs.
const PAUSE: Duration = Duration::from_millis(20);

/// A lent transaction on the database of the shop.
pub type Tx = Scoped<SqliteTx>;

/// Defines events whose key is the id of the order.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* } = $wire:literal;)*) => { $(
        $(#[$doc])*
        #[allow(missing_docs)]
        #[derive(Serialize, Deserialize)]
        pub struct $name { pub order: String, $(pub $field: $type),* }
        impl Event for $name {
            const TYPE: &'static str = $wire;
            const VERSION: u32 = 1;
            fn key(&self) -> String { self.order.clone() }
        }
    )* };
}

events! {
    /// Asks a service to execute its part of an order, or to undo it.
    Command { undo: bool } = "order.command";
    /// The answer to a command: whether the part of `service` is executed now.
    Answer { service: String, done: bool } = "order.answer";
    /// A customer has placed an order.
    OrderPlaced {} = "order.placed";
    /// An order was given up: every service undoes its part.
    OrderCancelled {} = "order.cancelled";
    /// An order was paid or declined, or the payment was returned.
    PaymentChanged { done: bool } = "payment.changed";
    /// The stock of an order was reserved or is sold out, or the reservation was released.
    InventoryChanged { done: bool } = "inventory.changed";
    /// A courier has accepted or refused an order.
    ShippingChanged { done: bool } = "shipping.changed";
}

/// The database of all services of a shop, in a temporary file. Real services have one each.
pub struct Shop {
    /// The connection.
    pub pool: SqlitePool,
    /// The tables of the outbox, the inbox and the sagas.
    pub tables: Tables,
    /// Opens transactions.
    pub unit: SqliteUnit,
    _dir: TempDir,
}

impl Shop {
    /// Creates the database.
    ///
    /// # Errors
    /// Returns the error of the file system or of the database.
    pub async fn open() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let pool = open_sqlite(&dir.path().join("shop.db")).await?;
        let own = "CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT);
            CREATE TABLE parts (service TEXT, order_id TEXT, done INTEGER, PRIMARY KEY (service, order_id))";
        sqlx::raw_sql(own).execute(&pool).await?;
        let tables = Tables::new();
        tables.migrate(&pool).await?;
        let unit = SqliteUnit::new(pool.clone(), tables.clone());
        Ok(Self { pool, tables, unit, _dir: dir })
    }

    /// Returns a builder of a consumer of the events of the shop.
    pub fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let store = RelayStore::new(self.pool.clone(), self.tables.clone());
        LocalConsumer::builder(store, group).commit_signal(self.unit.commit_signal())
    }

    /// Waits for a run that passes `filter`, and returns the first one.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub async fn find_run(&self, filter: &RunFilter) -> anyhow::Result<StoredRun> {
        loop {
            let mut conn = self.pool.acquire().await?;
            if let Some(run) = self.tables.saga_runs(&mut conn, filter, None, 1).await?.pop() {
                return Ok(run);
            }
            drop(conn);
            Clock::system().sleep(PAUSE).await;
        }
    }

    /// Resolves when no run of a saga is in progress or held.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub async fn runs_ended(&self) -> anyhow::Result<()> {
        while !self.tables.saga_counts(&mut *self.pool.acquire().await?).await?.is_empty() {
            Clock::system().sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Stores the part of `service` in an order: executed (`done`), or refused or undone. Returns what is stored afterwards.
///
/// A repeated call changes nothing. A part that was refused or undone is never executed, so a command that comes after its
/// compensation has no effect.
///
/// # Errors
/// Returns the error of the database.
pub async fn store_part(tx: &mut SqliteTx, service: &str, order: &str, done: bool) -> Result<bool, Error> {
    let upsert = "INSERT INTO parts (service, order_id, done) VALUES ($1, $2, $3)
        ON CONFLICT DO UPDATE SET done = done AND excluded.done RETURNING done";
    let query = sqlx::query_scalar(upsert).bind(service).bind(order).bind(done);
    query.fetch_one(&mut **tx).await.map_err(sql_error)
}

/// Prints each change of a run: the state, the cause, the commands and the alarms. Writes nothing.
///
/// # Errors
/// Returns no error.
pub async fn print_changes(changes: &[RunChange]) -> Result<(), Error> {
    changes.iter().for_each(print_change);
    Ok(())
}

/// Prints a change of a run: the state, the cause, the commands and the alarms.
pub fn print_change(change: &RunChange) {
    let RunChange { instance, input, effects, .. } = change;
    let cause = match input {
        RunInput::Message { source, event_type, .. } => {
            format!("{source}: {}", event_type.as_deref().unwrap_or_default())
        }
        RunInput::Timer { timer } => format!("timer {timer}"),
        RunInput::Operator { operator, operation, .. } => format!("{operator}: {operation}"),
        _ => "start".to_owned(),
    };
    println!("{} | {:<22} | {cause}", instance.id, instance.state);
    for effect in effects {
        match effect {
            Effect::Send(command) => println!("{:>10} sent {}", "", command.id),
            Effect::Alarm { step, reason } => println!("{:>10} ALARM {step}: {reason}", ""),
            _ => {}
        }
    }
}
