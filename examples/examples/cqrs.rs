//! CQRS: commands through layers, and queries of a read model.
//!
//! The problem: each handler checks rights and fields in its own way, a repeated request books twice, and a query that
//! follows a command does not find what the command wrote.
//!
//! The solution: a command is data, and passes the same layers each time: authorization, validation, conflicts, and a reply
//! that is stored with the effect. A query reads the table of a projection, and waits for the transaction of the command.
//!
//! Prints a booking and its repetition, two refusals, two bookings of one seat at once, and the query.
//!
//! Run: `cargo run -p examples --example cqrs`. Nothing else is needed; the database is a temporary SQLite file.

use std::time::Duration;

use anyhow::Context as _;
use comms_core::{
    Error, Scoped,
    clock::Clock,
    command::{Caller, CommandRequest, FieldErrors, authorize, command_fn, retry_conflicts, validate},
    event::{self, Event, EventSource},
    event_sourcing::{Append, AuthType, EventStore, Expected, Recorded, Stream},
};
use comms_outbox::{
    Projection, sql_error,
    sqlite::{EventFeed, SqliteTx, SqliteUnit, Tables},
};
use examples::open_sqlite;
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;
use tower::{Service, ServiceBuilder, ServiceExt};

#[derive(Clone, Serialize, Deserialize)]
struct Book {
    seat: u32,
    guest: String,
}

#[derive(Serialize, Deserialize)]
struct Booked(Book);

impl Event for Booked {
    const TYPE: &'static str = "seat.booked";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.0.seat.to_string()
    }
}

/// The command side. The reply names the transaction, in which the booking is the first event of its seat.
fn bookings(
    unit: SqliteUnit,
) -> impl Service<CommandRequest<Book>, Response = String, Error = Error> + Clone {
    let (source, store) = (EventSource::new("theatre", Clock::system()), unit.clone());
    let book = move |request: CommandRequest<Book>, mut tx: Scoped<SqliteTx>| {
        let (source, store) = (source.clone(), store.clone());
        async move {
            let stream = Stream::new("seat", request.command.seat.to_string());
            let events = [stream.event(&source.message(&Booked(request.command))?)];
            let append =
                Append { stream: &stream, expected: Expected::NoStream, events: &events, messages: &[] };
            store.append(&mut tx, append).await?;
            Ok(Tables::new().written(&mut tx).await?.to_string())
        }
    };
    ServiceBuilder::new()
        .layer(authorize(|caller: &Caller, book: &Book| caller.id.as_ref() == book.guest))
        .layer(validate(|book: &Book, errors: &mut FieldErrors| {
            errors.require((1..=50).contains(&book.seat), "/seat", "must be 1 to 50");
        }))
        .layer(retry_conflicts("book", &Clock::system()))
        .service(command_fn(unit, book).idempotent("book"))
}

/// The read model of the query side.
fn projection(pool: &SqlitePool, unit: &SqliteUnit) -> Result<Projection<EventFeed>, Error> {
    Projection::builder(EventFeed::new(pool.clone(), Tables::new()), "guests")
        .commit_signal(unit.commit_signal())
        .apply(|events: Vec<Recorded>, mut tx: Scoped<SqliteTx>| async move {
            for event in events {
                let Some(Booked(Book { seat, guest })) = event::read(&event.message)? else { continue };
                let insert = sqlx::query("INSERT INTO guests (seat, guest) VALUES ($1, $2)");
                insert.bind(seat).bind(guest).execute(&mut **tx).await.map_err(sql_error)?;
            }
            Ok(())
        })
        .build()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pool = open_sqlite(&dir.path().join("theatre.db")).await?;
    Tables::new().migrate(&pool).await?;
    sqlx::query("CREATE TABLE guests (seat INTEGER PRIMARY KEY, guest TEXT NOT NULL)").execute(&pool).await?;
    let unit = SqliteUnit::new(pool.clone(), Tables::new());
    let (projection, bookings) = (projection(&pool, &unit)?, bookings(unit));
    let handle = projection.handle();
    tokio::spawn(projection.run(std::future::pending()));

    let send = async |caller: &str, seat: u32, guest: &str, key: &str| {
        let book = Book { seat, guest: guest.into() };
        let request = CommandRequest::new(Caller::new(AuthType::AppUser, caller), book);
        let reply = bookings.clone().oneshot(request.with_idempotency_key(key)?).await;
        println!("{caller}, seat {seat}: {:?}", reply.as_ref().map_err(Error::to_string));
        Ok::<_, Error>(reply.ok())
    };
    send("ann", 7, "ann", "k-1").await?;
    send("ann", 7, "ann", "k-1").await?; // The same reply, and no second booking.
    send("ann", 70, "ann", "k-2").await?;
    send("bob", 8, "ann", "k-1").await?;
    let (ann, bob) = tokio::join!(send("ann", 8, "ann", "k-3"), send("bob", 8, "bob", "k-2"));
    let written = ann?.or(bob?).context("one of the two has the seat")?;
    handle.wait_for(written.parse()?, Duration::from_secs(5)).await?;
    let guests: Vec<(u32, String)> =
        sqlx::query_as("SELECT * FROM guests ORDER BY seat").fetch_all(&pool).await?;
    println!("seats: {guests:?}");
    Ok(())
}
