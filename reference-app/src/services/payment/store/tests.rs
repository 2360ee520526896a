//! Corrupt rows.

use comms_core::{ErrorKind, UnitOfWork as _, clock::Clock, in_transaction};

use super::*;
use crate::services::payment::{MIGRATIONS, SERVICE};

#[tokio::test]
async fn a_corrupt_row_is_an_internal_error() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "payment_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    let payment = Payment {
        payment_id: "p-1".into(),
        order_id: "o-1".into(),
        buyer_id: "ann".into(),
        amount: Money { minor: 100, currency: "RUB".into() },
        status: PaymentStatus::Pending,
        sequence: 1,
        reason: None,
        created_at: 0,
        updated_at: 0,
    };
    in_transaction(&db, async |mut tx| store.insert(&mut tx, &payment).await).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.execute("UPDATE {s}.payments SET status = 'SHREDDED'", &[]).await.unwrap();
    let error = store.lock(&mut tx, "p-1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "{}", error.chain());
}
