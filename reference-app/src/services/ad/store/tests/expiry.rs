//! The expiry of reservations.

use super::*;
use crate::{platform::service::settle_due, services::ad::expiry::Expiry};

#[tokio::test]
async fn reservations_that_are_not_confirmed_in_time_are_given_back_once_sqlite() {
    expire(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn reservations_that_are_not_confirmed_in_time_are_given_back_once_postgres() {
    expire(World::postgres().await).await;
}

/// More reservations than a page, two processes at the same time, and one row that cannot be read.
async fn expire(world: World) {
    world.offer("bike", 1_000).await;
    for order in 0..230 {
        world.reserve(&format!("o-{order}"), 2).await;
    }
    world.confirm("o-7").await;
    let expiry = Expiry { db: world.db.clone(), store: world.store.clone() };
    let heartbeat = Health::new().heartbeat("expiry", TTL);
    let sweep = || settle_due(&world.db, &expiry, &heartbeat);
    world.clock.advance(TTL - Duration::from_millis(1));
    assert_eq!(sweep().await.unwrap(), 0, "one millisecond before the time");
    world.clock.advance(Duration::from_millis(1));
    world.reserve("late", 2).await;
    corrupt(&world, "-2").await;
    let (first, second) = tokio::join!(sweep(), sweep());
    assert_eq!(first.unwrap() + second.unwrap(), 228, "each due reservation but the corrupt one, once");
    assert_eq!(world.store.find("bike").await.unwrap().unwrap().available, 1_000 - 2 - 2 - 2);
    corrupt(&world, "2").await;
    assert_eq!(sweep().await.unwrap(), 1, "the repaired row");
    assert_eq!(world.available().await, 1_000 - 2 - 2, "the confirmed and the late one hold their pieces");
    assert_eq!(world.events().await, 230 + 1 + 1 + 229);

    assert_eq!(state(&world.confirm("o-8").await), (Status::Confirmed, None, 3), "pieces are left");
    world.reserve("greedy", 994).await;
    assert_eq!(world.available().await, 0);
    assert_eq!(state(&world.confirm("o-9").await), (Status::Rejected, Some("expired"), 3));
    assert_eq!(world.available().await, 0);
}

/// Sets the quantity of the order `o-3`, in SQL that both databases read as a number.
async fn corrupt(world: &World, quantity: &str) {
    let mut tx = world.db.begin().await.unwrap();
    let sql = "UPDATE {s}.reservations SET quantity = $1 WHERE order_id = 'o-3'";
    tx.execute(sql, &[quantity.parse::<i64>().unwrap().into()]).await.unwrap();
    world.db.commit(tx).await.unwrap();
}
