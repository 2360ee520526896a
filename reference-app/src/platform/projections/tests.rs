use std::{future::pending, time::Duration};

use comms_core::{
    ErrorKind, Message, MessageParts, Scoped,
    clock::Clock,
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
    health::Health,
    in_transaction,
    shutdown::Shutdown,
};
use serde_json::Value;

use super::*;
use crate::platform::db::{
    ProjectionOptions, Tx,
    tests::{SCHEMA, migrations},
};

const LIMIT: Duration = Duration::from_secs(30);

async fn append(db: &Db, id: &str) {
    let stream = Stream::new("order", "o-1");
    let event = stream.event(&Message::new(MessageParts { source: "/tests", id, ..Default::default() }));
    let append = async |mut tx: Scoped<Tx>| {
        let append = Append {
            stream: &stream,
            expected: Expected::Any,
            events: std::slice::from_ref(&event),
            messages: &[],
        };
        db.append(&mut tx, append).await
    };
    in_transaction(db, append).await.unwrap();
}

/// Waits until the report of the only projection fulfills `is_met`, and returns it.
async fn report(registry: &ProjectionRegistry, is_met: impl Fn(&Value) -> bool) -> Value {
    let clock = Clock::system();
    let met = async {
        loop {
            let report = serde_json::to_value(registry.report().await).unwrap()[0].take();
            if is_met(&report) {
                return report;
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
    };
    clock.timeout(LIMIT, met).await.unwrap()
}

/// An operator settles the event that the report shows, and no other one.
#[tokio::test]
async fn an_operator_skips_the_event_at_which_a_projection_is_parked() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), SCHEMA, migrations(), &Clock::system()).await.unwrap();
    let (health, shutdown, registry) =
        (Health::new(), Shutdown::new(Clock::system()), ProjectionRegistry::default());
    let options = ProjectionOptions {
        name: "seen",
        revision: 3,
        categories: &["order"],
        lease: Duration::from_secs(2),
        owner: None,
        health: health.component("projection seen"),
        heartbeat: health.heartbeat("projection seen", Duration::from_secs(60)),
    };
    let apply = async |events: Vec<Recorded>, _: Tx| match events.iter().any(|e| e.message.id() == "bad") {
        true => Err(Error::invalid("no such buyer")),
        false => Ok(()),
    };
    let projection = db.projection(options, apply).unwrap();
    registry.add("order", "seen", projection.handle(), db.clone()).unwrap();
    let twice = registry.add("analytics", "seen", projection.handle(), db.clone()).unwrap_err();
    assert_eq!(twice.kind, ErrorKind::Internal);
    shutdown.stage("consumers").spawn("seen", |signal| projection.run(signal));
    append(&db, "good").await;
    append(&db, "bad").await;

    let parked = report(&registry, |report| report["state"] == "parked").await;
    assert_eq!(
        (&parked["name"], &parked["revision"], &parked["applied"]),
        (&"seen".into(), &3.into(), &1.into())
    );
    let event = &parked["parked"][0];
    assert_eq!(
        (&event["event"], &event["state"], &event["kind"]),
        (&"bad".into(), &"parked".into(), &"invalid".into())
    );
    assert!(event["error"].as_str().unwrap().contains("no such buyer"), "{event}");

    let missing = registry.projection("seen", 4).map(drop).unwrap_err();
    assert!(missing.kind == ErrorKind::NotFound && missing.to_string().contains("seen v3"), "{missing}");
    let seen = registry.projection("seen", 3).unwrap();
    assert_eq!(seen.retry("good").await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(seen.skip("good", "a guess").await.unwrap_err().kind, ErrorKind::Conflict);
    seen.skip("bad", "the buyer is gone").await.unwrap();
    assert_eq!(seen.skip("bad", "again").await.unwrap_err().kind, ErrorKind::Conflict);
    let live = report(&registry, |report| report["state"] == "live").await;
    let skipped = &live["parked"][0];
    assert_eq!((&skipped["state"], &skipped["reason"]), (&"skipped".into(), &"the buyer is gone".into()));
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
}
