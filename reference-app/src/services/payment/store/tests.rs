//! Corrupt rows.

use comms_core::{ErrorKind, UnitOfWork as _, clock::Clock, in_transaction};

use super::*;
use crate::services::payment::{MIGRATIONS, SERVICE};

#[tokio::test]
async fn a_corrupt_row_is_an_internal_error() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "payment_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    let amount = Money { minor: 100, currency: "RUB".into() };
    let payment = store.new_payment("o-1".into(), "ann".into(), amount).unwrap();
    let payment_id = payment.payment_id.clone();
    in_transaction(&db, async |mut tx| store.request(&mut tx, payment).await).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.execute("UPDATE {s}.payments SET status = 'SHREDDED'", &[]).await.unwrap();
    let error = store.lock(&mut tx, &payment_id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "{}", error.chain());
}
