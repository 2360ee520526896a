use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use comms_core::{
    ErrorKind, Message, MessageParts,
    event_sourcing::{Append, EventStore, Expected, Read, Stream},
    health::Health,
    in_transaction,
    shutdown::Shutdown,
};

use super::{
    super::{
        testing,
        tests::{SCHEMA, migrations},
    },
    *,
};

const LIMIT: Duration = Duration::from_secs(20);

fn options<'a>(health: &Health) -> ProjectionOptions<'a> {
    ProjectionOptions {
        name: "seen",
        revision: 1,
        categories: &["order"],
        lease: Duration::from_secs(2),
        owner: Some("tests"),
        health: health.component("projection seen"),
        heartbeat: health.heartbeat("projection seen", Duration::from_secs(60)),
    }
}

async fn append(db: &Db, id: &str) -> Written {
    let stream = Stream::new("order", "o-1");
    let event = stream.event(&Message::new(MessageParts { source: "/tests", id, ..Default::default() }));
    in_transaction(db, async |mut tx| {
        let append = Append { stream: &stream, expected: Expected::Any, events: &[event], messages: &[] };
        db.append(&mut tx, append).await?;
        db.written(&mut tx).await
    })
    .await
    .unwrap()
}

async fn seen(db: &Db) -> Vec<(String, i64)> {
    let rows = db.fetch("SELECT id, version FROM {s}.seen ORDER BY version", &[]).await.unwrap();
    rows.iter().map(|row| (row.text("id").unwrap(), row.int("version").unwrap())).collect()
}

/// The function of the projection writes in the transaction of the position, and cannot commit it.
async fn follows_the_events(db: Db) {
    let create = "CREATE TABLE {s}.seen (id TEXT NOT NULL, version BIGINT NOT NULL)";
    in_transaction(&db, async |mut tx| tx.execute(create, &[]).await).await.unwrap();
    let (health, shutdown) = (Health::new(), Shutdown::new(Clock::system()));
    let (commits, committing) = (Arc::new(Mutex::new(Vec::new())), db.clone());
    let refusals = commits.clone();
    let apply = move |events: Vec<Recorded>, mut tx: Tx| {
        let (db, refusals) = (committing.clone(), refusals.clone());
        async move {
            for event in events {
                let version = i64::try_from(event.version).unwrap();
                let insert = "INSERT INTO {s}.seen (id, version) VALUES ($1, $2)";
                tx.execute(insert, &[event.message.id().into(), version.into()]).await?;
            }
            let refused = db.commit(tx).await.unwrap_err();
            refusals.lock().unwrap().push(refused.kind);
            Ok(())
        }
    };
    let projection = db.projection(options(&health), apply).unwrap();
    let handle = projection.handle();
    assert!(!health.is_ready());
    shutdown.stage("consumers").spawn("seen", |signal| projection.run(signal));

    append(&db, "1").await;
    let written = append(&db, "2").await;
    handle.wait_for(written, LIMIT).await.unwrap();
    assert_eq!(seen(&db).await, [("1".to_owned(), 1), ("2".to_owned(), 2)]);
    assert_eq!(db.live_revision("seen").await.unwrap(), Some(1));
    assert!(commits.lock().unwrap().iter().all(|kind| *kind == ErrorKind::Internal));
    let status = handle.status();
    assert!(health.is_ready() && status.live && status.applied == 2, "{status:?}");
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
}

/// A repeated append is recognized, and a stream is read back.
async fn stores_events(db: Db) {
    append(&db, "1").await;
    append(&db, "1").await;
    append(&db, "2").await;
    let mut tx = db.begin().await.unwrap();
    let events = db.read(&mut tx, &Stream::new("order", "o-1"), Read::default()).await.unwrap();
    assert_eq!(events.iter().map(|event| event.message.id()).collect::<Vec<_>>(), ["1", "2"]);
}

async fn sqlite() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), SCHEMA, migrations(), &Clock::system()).await.unwrap();
    (dir, db)
}

#[tokio::test]
async fn a_projection_follows_the_events_of_a_file() {
    let (_dir, db) = sqlite().await;
    follows_the_events(db).await;
}

#[tokio::test]
async fn a_file_stores_an_event_once() {
    let (_dir, db) = sqlite().await;
    stores_events(db).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_projection_follows_the_events_of_a_schema() {
    follows_the_events(testing::postgres(SCHEMA, migrations()).await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_schema_stores_an_event_once() {
    stores_events(testing::postgres(SCHEMA, migrations()).await).await;
}

/// A projection of a database that is not open waits, and ends with the shutdown.
#[tokio::test]
async fn a_projection_ends_while_its_database_is_away() {
    let away = "postgres://127.0.0.1:1/away";
    let db = Db::postgres(away, SCHEMA, 2, migrations(), &Clock::system()).unwrap();
    let (health, shutdown) = (Health::new(), Shutdown::new(Clock::system()));
    let projection = db.projection(options(&health), async |_, _| Ok(())).unwrap();
    shutdown.stage("consumers").spawn("seen", |signal| projection.run(signal));
    assert!(shutdown.end(LIMIT, pending()).await.is_clean() && !health.is_ready());
}
