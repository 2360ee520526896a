//! What can never be handled: set aside with its reason, and in nobody's way.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{Marketplace, Shape, eventually};

/// Without a broker: a row that no consumer can decode parks its key at each of them, and other keys flow.
#[tokio::test]
async fn an_undecodable_event_is_parked_embedded() {
    let marketplace = Marketplace::start(Shape::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;

    let file = marketplace.data_dir().join("order_service.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    // As a program with a bug would have written it: the row of a real order, with a payload that is no JSON.
    let first = ann.place("k1", 100).await;
    socket.until(&first.order_id, "PAID").await;
    sqlx::query(
        "INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
         SELECT source, 'poison', topic, CAST('poison' AS BLOB), type, headers, CAST('{' AS BLOB)
         FROM comms_outbox LIMIT 1",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let parked = "SELECT COUNT(*) FROM {s}.comms_outbox_parked WHERE error LIKE '%decode%'";
    eventually("both groups parked it", Duration::from_secs(20), async || {
        (marketplace.books.number("order_service", parked).await.ok()? == 2).then_some(())
    })
    .await;
    let second = ann.place("k2", 100).await;
    socket.until(&second.order_id, "PAID").await;
}
