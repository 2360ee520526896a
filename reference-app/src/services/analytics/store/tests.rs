use std::{future::pending, time::Duration};

use comms_core::{
    ErrorKind, Message, UnitOfWork as _,
    clock::Clock,
    event::{Event as _, EventSource},
    health::Health,
    shutdown::Shutdown,
    testing::TestConsumer,
};
use tonic::{Code, Request};

use super::*;
use crate::{
    contracts::{
        Money, OrderStatus, OrderStatusChanged,
        analytics::proto::{Range, analytics_server::Analytics as _},
    },
    platform::{
        db::{ProjectionHandle, ProjectionOptions},
        service::Sweep as _,
    },
    services::analytics::{CATEGORY, MIGRATIONS, api::Api, handlers, projection},
};

const LIMIT: Duration = Duration::from_secs(20);
const HOUR: i64 = 3_600;

async fn purge(db: &Db) {
    let heartbeat = Health::new().heartbeat("purge", LIMIT);
    projection::Replaced(db.clone()).sweep(&heartbeat).await.unwrap();
}

fn change(order_id: &str, sequence: i64, status: OrderStatus, changed_at: &str) -> OrderStatusChanged {
    let total = Money { minor: 250, currency: "RUB".into() };
    serde_json::from_value(serde_json::json!({
        "order_id": order_id, "buyer_id": "ann", "status": status, "sequence": sequence, "total": total,
        "reason": null, "changed_at": changed_at,
    }))
    .unwrap()
}

/// Two orders: one is paid, and one is cancelled after its payment. With a repeated and an older event, which change
/// nothing.
fn life() -> Vec<OrderStatusChanged> {
    use OrderStatus::{Cancelled, Created, Paid};
    vec![
        change("o-1", 1, Created, "1970-01-01T00:10:00Z"),
        change("o-2", 1, Created, "1970-01-01T00:20:00Z"),
        change("o-1", 2, Paid, "1970-01-01T01:00:00Z"),
        change("o-2", 2, Paid, "1970-01-01T01:30:00Z"),
        change("o-1", 2, Paid, "1970-01-01T01:00:00Z"),
        change("o-1", 1, Created, "1970-01-01T00:10:00Z"),
        change("o-2", 5, Cancelled, "1970-01-02T00:00:00Z"),
    ]
}

fn expected_hours() -> Vec<OrderCount> {
    let count = |hour, status: &str, orders, transitions| OrderCount {
        hour,
        status: status.into(),
        orders,
        transitions,
    };
    vec![
        count(0, "CANCELLED", 1, 0),
        count(0, "CREATED", 0, 2),
        count(0, "PAID", 1, 0),
        count(HOUR, "PAID", 0, 2),
        count(24 * HOUR, "CANCELLED", 0, 1),
    ]
}

fn expected_revenue() -> Vec<DailyRevenue> {
    let day =
        |day, minor, paid, refunded| DailyRevenue { day, currency: "RUB".into(), minor, paid, refunded };
    vec![day(0, 500, 2, 0), day(24 * HOUR, -250, 0, 1)]
}

async fn figures(db: &Db) -> (Vec<OrderCount>, Vec<DailyRevenue>) {
    (hours(db, 0, i64::MAX).await.unwrap(), revenue(db, 0, i64::MAX).await.unwrap())
}

/// Delivers the events to the handler, each in a message of its own, and each message twice.
async fn deliver(db: &Db, changes: &[OrderStatusChanged]) -> Vec<Message> {
    let source = EventSource::new("order-service", Clock::system());
    let consumer = TestConsumer::builder("analytics");
    let consumer = consumer.on(OrderStatusChanged::TYPE, handlers::store_events(db.clone()));
    let consumer = consumer.start().await.unwrap();
    let mut messages = Vec::new();
    for change in changes {
        let message = source.message(change).unwrap();
        consumer.deliver(message.clone()).await.unwrap();
        consumer.deliver(message.clone()).await.unwrap();
        messages.push(message);
    }
    messages
}

/// The projection of a process that runs `revision`.
struct Process {
    shutdown: Shutdown,
    handle: ProjectionHandle,
}

impl Process {
    fn start(db: &Db, revision: u32) -> Self {
        let health = Health::new();
        let options = ProjectionOptions {
            name: PROJECTION,
            revision,
            categories: &[CATEGORY],
            lease: Duration::from_secs(2),
            owner: Some("tests"),
            health: health.component("figures"),
            heartbeat: health.heartbeat("figures", LIMIT),
        };
        let apply = move |events, tx| projection::apply(revision, events, tx);
        let (shutdown, projection) = (Shutdown::new(Clock::system()), db.projection(options, apply).unwrap());
        let handle = projection.handle();
        shutdown.stage("consumers").spawn("figures", |signal| projection.run(signal));
        Self { shutdown, handle }
    }

    async fn applied(&self, db: &Db) {
        let mut tx = db.begin().await.unwrap();
        let written = db.written(&mut tx).await.unwrap();
        db.commit(tx).await.unwrap();
        self.handle.wait_for(written, LIMIT).await.unwrap();
        let clock = Clock::system();
        while db.live_revision(PROJECTION).await.unwrap() != Some(self.handle.status().revision) {
            clock.sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        assert!(self.shutdown.end(LIMIT, pending()).await.is_clean());
    }
}

async fn execute(db: &Db, sql: &'static str) {
    in_transaction(db, async |mut tx| tx.execute(sql, &[]).await).await.unwrap();
}

/// Each event counts once, and a higher revision repairs damaged figures while the live ones are read.
async fn figures_are_rebuilt(db: Db) {
    deliver(&db, &life()).await;
    let first = Process::start(&db, 1);
    first.applied(&db).await;
    assert_eq!(figures(&db).await, (expected_hours(), expected_revenue()));
    first.stop().await;

    execute(&db, "UPDATE {s}.hours SET orders = 77").await;
    execute(&db, "DELETE FROM {s}.revenue").await;
    let damaged = figures(&db).await;
    assert_ne!(damaged, (expected_hours(), expected_revenue()));
    purge(&db).await;
    assert_eq!(figures(&db).await, damaged, "the live figures are not deleted");

    let second = Process::start(&db, 2);
    second.applied(&db).await;
    assert_eq!(figures(&db).await, (expected_hours(), expected_revenue()));
    purge(&db).await;
    assert!(!has_older(&db, 2).await.unwrap());
    let kept = db.fetch("SELECT order_id FROM {s}.orders WHERE revision = 2", &[]).await.unwrap();
    assert_eq!(kept.len(), 2, "the orders of the live revision are not deleted");
    for table in ["SELECT * FROM {s}.orders WHERE revision = 1", "SELECT * FROM {s}.hours WHERE revision = 1"]
    {
        assert!(db.fetch(table, &[]).await.unwrap().is_empty(), "{table}");
    }
    second.stop().await;

    // A process with the older revision writes no rows again.
    deliver(&db, &[change("o-3", 1, OrderStatus::Created, "1970-01-01T02:00:00Z")]).await;
    let tx = db.begin().await.unwrap();
    let refused = projection::apply(1, Vec::new(), tx).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Misconfigured, "{}", refused.chain());
    assert!(!has_older(&db, 2).await.unwrap());
}

/// A reply has the figures that begin in the range, and how recent they are.
async fn replies_are_fresh(db: Db) {
    let process = Process::start(&db, 1);
    process.applied(&db).await;
    let api = Api { db: db.clone(), handle: process.handle.clone() };
    let empty = api.get_orders(Request::new(Range { from: 0, to: 1 })).await.unwrap().into_inner();
    assert_eq!((empty.counts, empty.freshness.unwrap().as_of), (vec![], None));

    deliver(&db, &life()).await;
    process.applied(&db).await;
    let reply = api.get_orders(Request::new(Range { from: HOUR + 59, to: 24 * HOUR })).await.unwrap();
    let reply = reply.into_inner();
    assert_eq!(reply.counts, expected_hours()[3..4]);
    let freshness = reply.freshness.unwrap();
    let age = Clock::system().unix_millis() - freshness.as_of.unwrap();
    assert!((-1_000..60_000).contains(&age), "{age}");
    assert!(freshness.lag_events.is_some());
    let reply = api.get_revenue(Request::new(Range { from: 23 * HOUR, to: 25 * HOUR })).await.unwrap();
    assert_eq!(reply.into_inner().days, expected_revenue());
    for (from, to) in [(0, 0), (5, 4), (-1, 1), (0, 31 * 24 * HOUR + 1), (i64::MAX, i64::MIN), (i64::MIN, 0)]
    {
        let status = api.get_orders(Request::new(Range { from, to })).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{from} {to}: {status}");
    }
    process.stop().await;
}

async fn sqlite() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "analytics_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    (dir, db)
}

#[tokio::test]
async fn figures_that_were_damaged_are_rebuilt_by_a_higher_revision() {
    let (_dir, db) = sqlite().await;
    figures_are_rebuilt(db).await;
}

#[tokio::test]
async fn a_reply_says_how_recent_its_figures_are() {
    let (_dir, db) = sqlite().await;
    replies_are_fresh(db).await;
}

#[tokio::test]
async fn figures_that_were_never_built_are_unavailable() {
    let (_dir, db) = sqlite().await;
    let process = Process::start(&db, 1);
    let handle = process.handle.clone();
    process.stop().await;
    execute(&db, "DELETE FROM {s}.comms_projection").await;
    let status = Api { db, handle }.get_orders(Request::new(Range { from: 0, to: 1 })).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// A deletion of many orders costs as much for each order as that of a few.
#[tokio::test]
async fn the_orders_of_older_revisions_are_deleted_by_ranges_of_their_key() {
    let (_dir, db) = sqlite().await;
    for (query, args, range) in [
        (OLDEST_ORDER, vec![2.into()], "(revision<?)"),
        (LAST_OF_CHUNK, vec![1.into(), "o".into(), CHUNK.into()], "(revision=? AND order_id>?)"),
        (DELETE_RANGE, vec![1.into(), "o".into(), "p".into()], "(revision=? AND order_id>? AND order_id<?)"),
    ] {
        let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {query}").into_boxed_str());
        let plan = db.fetch(explain, &args).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
        assert_eq!(steps.len(), 1, "no sorting: {steps:?}");
        assert!(steps[0].starts_with("SEARCH") && steps[0].ends_with(range), "{steps:?}");
    }

    execute(
        &db,
        "INSERT INTO {s}.orders (revision, order_id, sequence, status, created_hour, payment)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2001)
         SELECT r.v, 'o-' || n.i, 1, 'CREATED', 0, 'NONE' FROM n, (SELECT 1 AS v UNION SELECT 2 UNION SELECT 3) AS r",
    )
    .await;
    delete_older(&db, 3, &Health::new().heartbeat("purge", LIMIT)).await.unwrap();
    let left = db.fetch("SELECT DISTINCT revision FROM {s}.orders", &[]).await.unwrap();
    let left: Vec<i64> = left.iter().map(|row| row.int("revision").unwrap()).collect();
    assert_eq!(left, [3]);
    let kept = db.fetch("SELECT COUNT(*) AS n FROM {s}.orders", &[]).await.unwrap();
    assert_eq!(kept[0].int("n").unwrap(), 2_001);
}

#[tokio::test]
async fn an_event_without_a_time_is_not_stored() {
    let (_dir, db) = sqlite().await;
    deliver(&db, &[change("o-1", 1, OrderStatus::Created, "yesterday")]).await;
    let stored = async || db.fetch("SELECT id FROM {s}.comms_event", &[]).await.unwrap().len();
    assert_eq!(stored().await, 0);
    deliver(&db, &[change("o-2", 1, OrderStatus::Created, "2026-11-27T06:30:00Z")]).await;
    assert_eq!(stored().await, 1);
}

#[tokio::test]
async fn a_revenue_that_exceeds_the_largest_amount_is_refused() {
    let (_dir, db) = sqlite().await;
    for (minor, is_stored) in [(i64::MAX, true), (1, false), (-1, true)] {
        let mut changes = Changes::default();
        changes.revenue.entry((0, "RUB".into())).or_default().minor = minor.into();
        let result = in_transaction(&db, async |mut tx| save_changes(&mut tx, 1, changes).await).await;
        assert_eq!(result.is_ok(), is_stored, "{minor}");
    }
}

mod postgres {
    use super::*;
    use crate::platform::db::testing;

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn figures_that_were_damaged_are_rebuilt_by_a_higher_revision() {
        figures_are_rebuilt(testing::postgres("analytics_service", &MIGRATIONS).await).await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn a_reply_says_how_recent_its_figures_are() {
        replies_are_fresh(testing::postgres("analytics_service", &MIGRATIONS).await).await;
    }
}
