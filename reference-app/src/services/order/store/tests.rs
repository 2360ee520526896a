//! Corrupt rows, refusals of the database, and pages of orders.

use std::time::Duration;

use comms_core::{
    ErrorKind, UnitOfWork as _,
    clock::Clock,
    event::Event as _,
    in_transaction,
    testing::{DeliveryState, TestConsumer},
    transport::AttemptConfig,
};
use comms_grpc::to_status;
use tonic::Code;

use super::*;
use crate::{
    contracts::{
        PaymentStatus, PaymentStatusChanged,
        order::proto::{ListOrdersRequest, orders_server::Orders as _},
    },
    services::order::{MIGRATIONS, SERVICE, api::Api, handlers},
};

async fn store() -> (tempfile::TempDir, Db, Store) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "order_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    (dir, db, store)
}

fn an_order() -> Order {
    Order {
        order_id: "o-1".into(),
        buyer_id: "ann".into(),
        ad_id: "bike".into(),
        quantity: 2,
        unit_price: Money { minor: 50, currency: "RUB".into() },
        status: OrderStatus::Created,
        sequence: 1,
        payment_id: None,
        reason: None,
        created_at: 0,
        updated_at: 0,
    }
}

async fn insert(db: &Db, store: &Store) -> Result<(), Error> {
    in_transaction(db, async |mut tx| store.insert(&mut tx, &an_order()).await).await
}

async fn corrupt(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    tx.execute("UPDATE {s}.orders SET status = 'SHREDDED'", &[]).await.unwrap();
    db.commit(tx).await.unwrap();
}

#[tokio::test]
async fn a_corrupt_row_is_an_internal_error_and_its_event_a_dead_letter() {
    let (_dir, db, store) = store().await;
    insert(&db, &store).await.unwrap();
    corrupt(&db).await;
    let error = store.find("o-1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let status = to_status(&error);
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("row"), "{status}");

    let changed = PaymentStatusChanged {
        payment_id: "p-1".into(),
        order_id: "o-1".into(),
        status: PaymentStatus::Succeeded,
        sequence: 2,
        amount: Money { minor: 100, currency: "RUB".into() },
        reason: None,
        changed_at: timestamp(0),
    };
    let builder = TestConsumer::builder("g").attempts(AttemptConfig::default().max_attempts(2));
    let builder = builder.on(PaymentStatusChanged::TYPE, handlers::apply_payment(db, store));
    let consumer = builder.start().await.unwrap();
    consumer.deliver_event(&changed).await.unwrap();
    consumer.advance(Duration::from_secs(1)).await.unwrap();
    consumer.assert_states(&[DeliveryState::DeadLettered(ErrorKind::Internal)]);
    consumer.calls(PaymentStatusChanged::TYPE).assert_called(2);
}

#[tokio::test]
async fn a_grpc_status_does_not_repeat_the_text_of_the_database() {
    let (_dir, db, store) = store().await;
    insert(&db, &store).await.unwrap();
    let error = insert(&db, &store).await.unwrap_err();
    assert!(error.chain().to_string().contains("UNIQUE"), "the log shows the cause: {}", error.chain());
    assert_eq!((error.kind, error.public_text()), (ErrorKind::Invalid, None));
    let status = to_status(&error);
    assert!(!status.message().contains("orders"), "{status}");
}

const IDS: [&str; 3] = [
    "0193c3a0-0000-7000-8000-000000000001",
    "0193c3a0-0000-7000-8000-000000000002",
    "0193c3a0-0000-7000-8000-000000000003",
];

fn list(before: Option<&str>, limit: u32) -> tonic::Request<ListOrdersRequest> {
    let before = before.map(str::to_owned);
    tonic::Request::new(ListOrdersRequest { buyer_id: "ann".into(), limit, before })
}

#[tokio::test]
async fn a_corrupt_order_is_left_out_of_its_page() {
    let (_dir, db, store) = store().await;
    for id in IDS {
        let order = Order { order_id: id.into(), ..an_order() };
        in_transaction(&db, async |mut tx| store.insert(&mut tx, &order).await).await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    let sql = "UPDATE {s}.orders SET status = 'SHREDDED' WHERE order_id = $1";
    tx.execute(sql, &[IDS[1].into()]).await.unwrap();
    db.commit(tx).await.unwrap();

    let api = Api { db, store, clock: Clock::system() };
    let first = api.list_orders(list(None, 2)).await.unwrap().into_inner();
    assert_eq!(first.orders.iter().map(|order| &*order.order_id).collect::<Vec<_>>(), [IDS[2]]);
    assert_eq!(first.next.as_deref(), Some(IDS[1]), "the next page begins after the order that was left out");
    let second = api.list_orders(list(first.next.as_deref(), 2)).await.unwrap().into_inner();
    assert_eq!(second.orders.iter().map(|order| &*order.order_id).collect::<Vec<_>>(), [IDS[0]]);
    assert_eq!(second.next, None);
    for refused in [list(None, 0), list(None, 101), list(Some("o-1"), 1)] {
        let status = api.list_orders(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}

/// Each page is read from a range of the index, so that a later page costs as much as the first.
#[tokio::test]
async fn a_page_is_read_from_a_range_of_the_index() {
    let (_dir, db, _) = store().await;
    let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {PAGE}").into_boxed_str());
    let plan = db.fetch(explain, &["ann".into(), IDS[0].into(), 2.into()]).await.unwrap();
    let steps: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
    assert_eq!(steps, ["SEARCH main.orders USING INDEX orders_by_buyer (buyer_id=? AND order_id<?)"]);
}
