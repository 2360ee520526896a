//! The deletion of ended runs, on both databases.

use comms_core::{UnitOfWork as _, health::Health};

use super::*;
use crate::platform::db::testing::TestDb;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/ad/migrations");
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Stores a run that was changed `days` ago, with a line of its log.
async fn run(db: &Db, id: &str, phase: &str, days: i64) {
    let mut tx = db.begin().await.unwrap();
    let (run, line) = match tx.is_postgres() {
        true => (
            "INSERT INTO {s}.comms_saga (saga, id, version, phase, state, revision, instance, headers, updated_at)
             VALUES ('order', $1, 1, $2, 'Completed', 1, '{}', '', now() - make_interval(days => $3::int))",
            "INSERT INTO {s}.comms_saga_log (saga, id, sequence, phase, state, entry)
             VALUES ('order', $1, 1, $2, 'Completed', '{}')",
        ),
        false => (
            "INSERT INTO {s}.comms_saga (saga, id, version, phase, state, revision, instance, headers, updated_at)
             VALUES ('order', $1, 1, $2, 'Completed', 1, '{}', x'', unixepoch() * 1000 - $3 * 86400000)",
            "INSERT INTO {s}.comms_saga_log (saga, id, sequence, phase, state, entry)
             VALUES ('order', $1, 1, $2, 'Completed', '{}')",
        ),
    };
    tx.execute(run, &[id.into(), phase.into(), days.into()]).await.unwrap();
    tx.execute(line, &[id.into(), phase.into()]).await.unwrap();
    db.commit(tx).await.unwrap();
}

/// More runs than a transaction deletes. Runs that have ended recently, or not at all, stay.
async fn deletes(db: TestDb) {
    for number in 0..=CHUNK {
        run(&db.db, &format!("old-{number}"), "completed", 31).await;
    }
    run(&db.db, "failed", "failed", 31).await;
    run(&db.db, "recent", "completed", 29).await;
    run(&db.db, "held", "held", 400).await;
    let heartbeat = Health::new().heartbeat("runs", Duration::from_secs(60));
    let runs = EndedRuns { db: db.db.clone(), kept: KEPT };
    runs.sweep(&heartbeat).await.unwrap();
    let left = db.db.fetch("SELECT id FROM {s}.comms_saga ORDER BY id", &[]).await.unwrap();
    let left: Vec<_> = left.iter().map(|row| row.text("id").unwrap()).collect();
    assert_eq!(left, ["held", "recent"]);
    assert_eq!(db.number("SELECT COUNT(*) AS n FROM {s}.comms_saga_log").await, 2);
}

#[tokio::test]
async fn runs_that_ended_long_ago_are_deleted_with_their_logs_sqlite() {
    deletes(TestDb::sqlite("ad_service", &MIGRATIONS).await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn runs_that_ended_long_ago_are_deleted_with_their_logs_postgres() {
    deletes(TestDb::postgres("ad_service", &MIGRATIONS).await).await;
}
