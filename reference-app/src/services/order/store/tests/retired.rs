//! The deletion of replaced lists, on both databases.

use super::*;
use crate::platform::{db::testing::TestDb, service::Sweep as _};

const LIMIT: Duration = Duration::from_secs(20);

/// Writes the rows of `revision`, as a program with this revision does.
async fn project(tx: &mut Tx, revision: u32, events: &[Recorded]) -> Result<(), Error> {
    let sql = "INSERT INTO {s}.orders (revision, order_id, buyer_id, ad_id, quantity, price_minor, currency, status,
        sequence, created_at, updated_at) VALUES ($1, $2, 'ann', 'bike', 1, 1, 'RUB', 'CREATED', 1, 0, 0)
        ON CONFLICT (revision, order_id) DO NOTHING";
    for event in events {
        let id = std::str::from_utf8(event.message.key().unwrap()).unwrap();
        tx.execute(sql, &[i64::from(revision).into(), id.into()]).await?;
    }
    Ok(())
}

/// Builds the list of `revision` until it has every event, and returns the ids of its rows.
async fn build(db: &Db, revision: u32) -> Vec<String> {
    let (health, shutdown) = (Health::new(), Shutdown::new(Clock::system()));
    let options = ProjectionOptions {
        name: LIST,
        revision,
        categories: &["order"],
        lease: Duration::from_millis(500),
        owner: None,
        health: health.component(LIST),
        heartbeat: health.heartbeat(LIST, LIMIT),
    };
    let apply =
        move |events: Vec<Recorded>, mut tx: Tx| async move { project(&mut tx, revision, &events).await };
    let projection = db.projection(options, apply).unwrap();
    let handle = projection.handle();
    shutdown.stage("consumers").spawn(LIST, |signal| projection.run(signal));
    handle.wait_for_committed(LIMIT).await.unwrap();
    while db.live_revision(LIST).await.unwrap() < Some(revision) {
        tokio::task::yield_now().await;
    }
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
    ids(db, revision).await
}

async fn ids(db: &Db, revision: u32) -> Vec<String> {
    let sql = "SELECT order_id FROM {s}.orders WHERE revision = $1 ORDER BY order_id";
    let rows = db.fetch(sql, &[i64::from(revision).into()]).await.unwrap();
    rows.iter().map(|row| row.text("order_id").unwrap()).collect()
}

/// Sweeps as the program with the revision `own`.
async fn sweep(db: &Db, own: u32, unused: Duration) {
    let heartbeat = Health::new().heartbeat("lists", LIMIT);
    RetiredLists::new(db.clone(), own, unused).sweep(&heartbeat).await.unwrap();
}

async fn lists_are_replaced(test: TestDb) {
    let db = &test.db;
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    for id in IDS {
        place(db, &store, id).await.unwrap();
    }
    assert_eq!(build(db, 1).await, IDS);
    sweep(db, 2, Duration::ZERO).await;
    assert_eq!(ids(db, 1).await, IDS, "the live list is not deleted");
    assert_eq!(build(db, 2).await, IDS);

    sweep(db, 2, Duration::from_secs(3_600)).await;
    assert_eq!(ids(db, 1).await, IDS, "a process had the lease within the hour");
    let lease = "SELECT COUNT(*) AS n FROM {s}.comms_outbox_cursor WHERE relay = 'projection:orders:1'";
    while test.number(lease).await > 0 {
        sweep(db, 1, Duration::ZERO).await;
        assert_eq!(ids(db, 1).await, IDS, "the program of revision 1 keeps its own rows");
        sweep(db, 2, Duration::ZERO).await;
    }
    assert!(ids(db, 1).await.is_empty(), "the lease is over, and the replaced list is deleted");
    assert_eq!(ids(db, 2).await, IDS);

    // The program of revision 1 is started again, and builds its list from the first event.
    assert_eq!(build(db, 1).await, IDS);
}

#[tokio::test]
async fn a_replaced_list_is_deleted_when_no_process_builds_it_and_can_be_built_again_sqlite() {
    lists_are_replaced(TestDb::sqlite("order_service", &MIGRATIONS).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_replaced_list_is_deleted_when_no_process_builds_it_and_can_be_built_again_postgres() {
    lists_are_replaced(TestDb::postgres("order_service", &MIGRATIONS).await).await;
}
