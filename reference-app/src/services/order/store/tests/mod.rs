//! Changes with their messages, corrupt events and rows, refusals of the database, and pages of orders.

mod retired;

use std::{future::pending, time::Duration};

use comms_core::{
    ErrorKind, UnitOfWork as _,
    event::Event as _,
    event_sourcing::AuthType,
    health::Health,
    in_transaction,
    shutdown::Shutdown,
    testing::{DeliveryState, TestConsumer},
    transport::{AttemptConfig, BoxHandler},
};
use comms_grpc::to_status;
use comms_outbox::saga::Coordinator;
use tonic::Code;

use super::{super::change::Placement, *};
use crate::{
    contracts::{
        Money, PaymentStatus, PaymentStatusChanged,
        order::proto::{GetOrderHistoryRequest, ListOrdersRequest, orders_server::Orders as _},
    },
    platform::db::{Projection, ProjectionOptions},
    services::order::{MIGRATIONS, SERVICE, api::Api, runs::Variants, settings::Settings},
};

async fn store() -> (tempfile::TempDir, Db, Store) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), "order_service", &MIGRATIONS, &Clock::system()).await.unwrap();
    let store = Store::new(db.clone(), EventSource::new(SERVICE.source, Clock::system()));
    (dir, db, store)
}

fn audit() -> Audit {
    Audit::new(AuthType::AppUser, "ann").reason("a test")
}

async fn change(db: &Db, store: &Store, order_id: &str, changes: Vec<Change>) -> Result<Order, Error> {
    in_transaction(db, async |mut tx| store.change(&mut tx, order_id, changes, audit()).await).await
}

async fn place(db: &Db, store: &Store, order_id: &str) -> Result<Order, Error> {
    let new = Placement {
        order_id: order_id.into(),
        buyer_id: "ann".into(),
        ad_id: "bike".into(),
        quantity: 2,
        unit_price: Money { minor: 50, currency: "RUB".into() },
        choreographed: false,
    };
    change(db, store, order_id, vec![Change::Place(new)]).await
}

async fn execute(db: &Db, sql: &'static str) {
    let mut tx = db.begin().await.unwrap();
    tx.execute(sql, &[]).await.unwrap();
    db.commit(tx).await.unwrap();
}

fn projection(db: &Db, store: &Store) -> Projection {
    let health = Health::new();
    let options = ProjectionOptions {
        name: LIST,
        revision: REVISION,
        categories: &["order"],
        lease: Duration::from_secs(2),
        owner: None,
        health: health.component(LIST),
        heartbeat: health.heartbeat(LIST, Duration::from_secs(60)),
    };
    let store = store.clone();
    let apply = move |events: Vec<Recorded>, mut tx: Tx| {
        let store = store.clone();
        async move { store.project(&mut tx, &events).await }
    };
    db.projection(options, apply).unwrap()
}

/// The runs of the orders, with the default settings.
fn runs(db: &Db, store: &Store) -> (Variants, Coordinator<Db>) {
    let defaults: toml::Table = toml::from_str(SERVICE.defaults).unwrap();
    let mut section = defaults["order"].as_table().unwrap().clone();
    section.remove("listen");
    let settings: Settings = section.try_into().unwrap();
    let variants = Variants::new(&settings.saga).unwrap();
    let events = EventSource::new(SERVICE.source, Clock::system());
    let builder = variants.coordinator(db.clone(), store.clone(), events).unwrap();
    (variants, builder.build().unwrap())
}

fn api(db: &Db, store: &Store, projection: &Projection) -> Api {
    let (variants, runs) = runs(db, store);
    let (list, clock) = (projection.handle(), Clock::system());
    Api { db: db.clone(), store: store.clone(), list, variants, runs, choreographed: false, clock }
}

#[tokio::test]
async fn a_change_and_its_message_are_written_once() {
    let (_dir, db, store) = store().await;
    place(&db, &store, "o-1").await.unwrap();
    for _ in 0..2 {
        let started = Change::StartPayment { payment_id: "p-1".into() };
        change(&db, &store, "o-1", vec![started, Change::Pay]).await.unwrap();
    }
    let refused = change(&db, &store, "o-1", vec![Change::Ship]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    let order = store.find("o-1").await.unwrap().unwrap();
    assert_eq!((order.sequence, order.payment_id.as_deref()), (2, Some("p-1")));

    let events = store.history("o-1").await.unwrap();
    let events: Vec<_> = events.iter().map(|e| (e.version, e.message.event_type().unwrap())).collect();
    assert_eq!(events, [(1, "order.placed.v1"), (2, "order.payment.started.v1"), (3, "order.paid.v1")]);
    let rows = db.fetch("SELECT CAST(payload AS TEXT) AS event FROM {s}.comms_outbox ORDER BY id", &[]).await;
    let sent: Vec<OrderStatusChanged> =
        rows.unwrap().iter().map(|row| serde_json::from_str(&row.text("event").unwrap()).unwrap()).collect();
    let statuses: Vec<_> = sent.iter().map(|event| (<&str>::from(event.status), event.sequence)).collect();
    assert_eq!(statuses, [("CREATED", 1), ("PAID", 2)]);
    assert!(sent.iter().all(|event| !event.choreographed), "{sent:?}");
    assert_eq!(sent[0].item.as_ref().unwrap().ad_id, "bike");
}

#[tokio::test]
async fn a_corrupt_event_is_an_internal_error_and_a_message_for_it_a_dead_letter() {
    let (_dir, db, store) = store().await;
    let (variants, runs) = runs(&db, &store);
    let order = place(&db, &store, "o-1").await.unwrap();
    in_transaction(&db, async |mut tx| variants.start(&runs, &mut tx, &order).await).await.unwrap();
    execute(&db, "UPDATE {s}.comms_event SET payload = x'7b'").await;
    let error = store.find("o-1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let projection = projection(&db, &store);
    let request = GetOrderHistoryRequest { buyer_id: "ann".into(), order_id: "o-1".into() };
    let history = api(&db, &store, &projection).get_order_history(tonic::Request::new(request)).await;
    for status in [to_status(&error), history.unwrap_err()] {
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("version"), "{status}");
    }

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
    let builder = builder.on(PaymentStatusChanged::TYPE, BoxHandler::new(runs.handler()));
    let consumer = builder.start().await.unwrap();
    consumer.deliver_event(&changed).await.unwrap();
    consumer.advance(Duration::from_secs(1)).await.unwrap();
    consumer.assert_states(&[DeliveryState::DeadLettered(ErrorKind::Internal)]);
    consumer.calls(PaymentStatusChanged::TYPE).assert_called(2);
}

#[tokio::test]
async fn a_grpc_status_does_not_repeat_the_text_of_the_database() {
    let (_dir, db, store) = store().await;
    execute(&db, "DROP TABLE {s}.comms_event").await;
    let error = place(&db, &store, "o-1").await.unwrap_err();
    assert!(
        error.chain().to_string().contains("no such table"),
        "the log shows the cause: {}",
        error.chain()
    );
    assert_eq!(error.public_text(), None);
    let status = to_status(&error);
    assert!(!status.message().contains("table"), "{status}");
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
        place(&db, &store, id).await.unwrap();
        let events = store.history(id).await.unwrap();
        in_transaction(&db, async |mut tx| store.project(&mut tx, &events).await).await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    let sql = "UPDATE {s}.orders SET status = 'SHREDDED' WHERE order_id = $1";
    tx.execute(sql, &[IDS[1].into()]).await.unwrap();
    db.commit(tx).await.unwrap();

    let api = api(&db, &store, &projection(&db, &store));
    let first = api.list_orders(list(None, 2)).await.unwrap().into_inner();
    assert_eq!(first.orders.iter().map(|order| &*order.order_id).collect::<Vec<_>>(), [IDS[2]]);
    assert_eq!(first.next.as_deref(), Some(IDS[1]), "the next page begins after the order that was left out");
    assert!(!first.up_to_date, "the projection does not run");
    let second = api.list_orders(list(first.next.as_deref(), 2)).await.unwrap().into_inner();
    assert_eq!(second.orders.iter().map(|order| &*order.order_id).collect::<Vec<_>>(), [IDS[0]]);
    assert_eq!(second.next, None);
    for refused in [list(None, 0), list(None, 101), list(Some("o-1"), 1)] {
        let status = api.list_orders(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}

/// A program with a higher revision has made its rows live, and was replaced by this one.
#[tokio::test]
async fn a_list_shows_new_orders_after_a_rollback_from_a_higher_revision() {
    let (_dir, db, store) = store().await;
    execute(
        &db,
        "INSERT INTO {s}.comms_projection (name, live_revision, highest_live) VALUES ('orders', 2, 2)",
    )
    .await;
    place(&db, &store, IDS[0]).await.unwrap();
    let events = store.history(IDS[0]).await.unwrap();
    in_transaction(&db, async |mut tx| store.project(&mut tx, &events).await).await.unwrap();
    let page = store.page("ann", None, 10).await.unwrap();
    let ids: Vec<_> = page.orders.into_iter().map(|order| order.unwrap().order_id).collect();
    assert_eq!((ids, page.revision), (vec![IDS[0].to_owned()], REVISION));
}

#[tokio::test]
async fn a_list_that_is_up_to_date_has_each_change_that_was_committed_before() {
    let (_dir, db, store) = store().await;
    let (projection, shutdown) = (projection(&db, &store), Shutdown::new(Clock::system()));
    let api = api(&db, &store, &projection);
    shutdown.stage("consumers").spawn(LIST, |signal| projection.run(signal));
    for (number, id) in IDS.into_iter().enumerate() {
        place(&db, &store, id).await.unwrap();
        change(&db, &store, id, vec![Change::Pay]).await.unwrap();
        let page = loop {
            let page = api.list_orders(list(None, 10)).await.unwrap().into_inner();
            if page.up_to_date {
                break page;
            }
        };
        assert_eq!(page.orders.len(), number + 1);
        assert_eq!((&*page.orders[0].order_id, &*page.orders[0].status), (id, "PAID"));
    }
    assert!(shutdown.end(Duration::from_secs(10), pending()).await.is_clean());
}

/// Each page is read from a range of the index, so that a later page costs as much as the first.
#[tokio::test]
async fn a_page_is_read_from_a_range_of_the_index() {
    let (_dir, db, _) = store().await;
    let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {}", list::PAGE).into_boxed_str());
    let plan = db.fetch(explain, &[1.into(), "ann".into(), IDS[0].into(), 2.into()]).await.unwrap();
    let steps: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
    let range = "(revision=? AND buyer_id=? AND order_id<?)";
    assert_eq!(steps, [format!("SEARCH main.orders USING INDEX orders_by_buyer {range}")]);
}
