use std::{path::Path, time::Duration};

use comms_core::{Clock, Context, Deadline, ErrorKind, UnitOfWork};
use sqlx::migrate::Migrator;

use super::*;

/// The answer must reach the caller while it still waits: after the deadline the call may have been executed.
#[tokio::test]
async fn a_transaction_that_does_not_begin_is_refused_before_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let migrations =
        Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/services/order/migrations")))
            .await
            .unwrap();
    let db = Db::sqlite(dir.path(), "order_service", &migrations).await.unwrap();
    let _only_writer = db.begin().await.unwrap();
    let clock = Clock::system();
    let deadline = Deadline::after(Duration::from_secs(2), &clock);
    let refused = Context::current().with_deadline(deadline).scope(db.begin()).await;
    assert_eq!(refused.err().unwrap().kind, ErrorKind::NotExecuted);
    assert!(!deadline.has_passed(&clock));
}
