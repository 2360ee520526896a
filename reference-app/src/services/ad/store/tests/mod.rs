//! Reservations under concurrency, repetition and expiry, on SQLite and on PostgreSQL.

mod commands;
mod expiry;
mod list;
mod orders;

use std::time::Duration;

use comms_core::{Scoped, UnitOfWork as _, clock::Clock, health::Health, in_transaction};

use super::*;
use crate::{
    contracts::ReservationStatus as Status,
    platform::db::testing,
    services::ad::{
        MIGRATIONS, SERVICE,
        domain::{Reservation, Wanted},
    },
};

const TTL: Duration = Duration::from_secs(60);

/// The ads whose stock is not conserved: the pieces that are available and those that orders hold are not the pieces that
/// the seller has offered.
const WRONG_STOCK: &str = "SELECT ad_id FROM {s}.ads a WHERE a.stock <> a.available + (
    SELECT COALESCE(SUM(r.quantity), 0) FROM {s}.reservations r
    WHERE r.ad_id = a.ad_id AND r.status IN ('RESERVED', 'CONFIRMED'))";

/// A database with the store of ad-service and a manual clock.
struct World {
    db: Db,
    store: Store,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(db: Db, clock: Clock, dir: tempfile::TempDir) -> Self {
        let store = Store::new(db.clone(), EventSource::new(SERVICE.source, clock.clone()));
        Self { db, store, clock, _dir: dir }
    }

    async fn sqlite() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Duration::from_secs(1_000)));
        let db = Db::sqlite(dir.path(), "ad_service", &MIGRATIONS, &clock).await.unwrap();
        Self::new(db, clock, dir)
    }

    async fn postgres() -> Self {
        let db = testing::postgres("ad_service", &MIGRATIONS).await;
        Self::new(db, Clock::manual(Duration::from_secs(1_000)), tempfile::tempdir().unwrap())
    }

    async fn offer(&self, ad_id: &str, stock: u32) {
        let ad = Ad {
            ad_id: ad_id.into(),
            seller_id: "sam".into(),
            title: "A bike".into(),
            description: String::new(),
            price: price(),
            stock,
            available: stock,
            created_at: self.store.now(),
        };
        in_transaction(&self.db, async |mut tx| self.store.insert(&mut tx, &ad).await).await.unwrap();
    }

    async fn reserve(&self, order_id: &str, quantity: u32) -> Reservation {
        let wanted = wanted(quantity);
        let reserve = async |mut tx: Scoped<Tx>| self.store.reserve(&mut tx, order_id, &wanted, TTL).await;
        in_transaction(&self.db, reserve).await.unwrap()
    }

    async fn confirm(&self, order_id: &str) -> Reservation {
        in_transaction(&self.db, async |mut tx| self.store.confirm(&mut tx, order_id).await).await.unwrap()
    }

    async fn release(&self, order_id: &str) -> Reservation {
        in_transaction(&self.db, async |mut tx| self.store.release(&mut tx, order_id).await).await.unwrap()
    }

    /// Returns the available stock of the ad `bike`. Fails the test if the stock of an ad is not conserved.
    async fn available(&self) -> u32 {
        let wrong = self.db.fetch(WRONG_STOCK, &[]).await.unwrap();
        let wrong: Vec<_> = wrong.iter().map(|row| row.text("ad_id").unwrap()).collect();
        assert!(wrong.is_empty(), "the stock of {wrong:?} is not conserved");
        self.store.find("bike").await.unwrap().unwrap().available
    }

    /// Returns the number of events in the outbox.
    async fn events(&self) -> i64 {
        let rows = self.db.fetch("SELECT COUNT(*) AS n FROM {s}.comms_outbox", &[]).await.unwrap();
        rows[0].int("n").unwrap()
    }
}

fn price() -> Money {
    Money { minor: 100, currency: "RUB".into() }
}

fn wanted(quantity: u32) -> Wanted {
    Wanted { ad_id: "bike".into(), quantity, unit_price: price() }
}

fn state(reservation: &Reservation) -> (Status, Option<&str>, i64) {
    (reservation.status, reservation.reason.as_deref(), reservation.sequence)
}
