//! Projections.

use std::time::Duration;

use comms_core::Error;
use comms_outbox::{ParkedEvent, Projection, ProjectionBuilder, Written, postgres::EventFeed};

use super::{
    Postgres,
    relay::blob,
    suite::{
        self, Tx,
        projection::{Projections, settings},
    },
};

impl Projections for Postgres {
    type Feed = EventFeed;

    fn feed(&self) -> EventFeed {
        EventFeed::new(self.pool.clone(), self.tables.clone())
    }

    fn projection(&self, name: &str) -> ProjectionBuilder<EventFeed> {
        settings(Projection::builder(self.feed(), name)).commit_signal(self.unit.commit_signal())
    }

    async fn written(&self, tx: &mut Tx<Self>) -> Written {
        self.tables.written(tx).await.unwrap()
    }

    async fn wait_for(&self, name: &str, written: Written) -> Result<(), Error> {
        self.feed().wait_for(name, written, Duration::from_secs(10)).await
    }

    async fn live_revision(&self, name: &str) -> Option<u32> {
        self.tables.live_revision(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn set_live_revision(&self, name: &str, revision: u32) {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.set_live_revision(&mut conn, name, revision).await.unwrap();
    }

    async fn parked_events(&self, name: &str) -> Vec<ParkedEvent> {
        self.tables.parked_events(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn retry_event(&self, name: &str) -> bool {
        self.tables.retry_event(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn skip_event(&self, name: &str, event: &str) -> bool {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.skip_event(&mut conn, name, event, "known").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_event_is_applied_once_over_crashes() {
    suite::projection::each_event_is_applied_once_over_crashes::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_process_that_was_overtaken_is_fenced() {
    suite::projection::a_process_that_was_overtaken_is_fenced::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn only_events_of_the_categories_are_applied() {
    suite::projection::only_events_of_the_categories_are_applied::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_query_waits_for_what_it_has_written() {
    suite::projection::a_query_waits_for_what_it_has_written::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_higher_revision_is_built_beside_the_live_one() {
    suite::projection::a_higher_revision_is_built_beside_the_live_one::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn names_and_settings_that_cannot_work_are_refused() {
    suite::projection::names_and_settings_that_cannot_work_are_refused::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_projection_parks_at_exactly_the_event_that_fails() {
    suite::projection_parks::a_projection_parks_at_exactly_the_event_that_fails::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_operator_skips_an_event() {
    suite::projection_parks::an_operator_skips_an_event::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn failures_outside_the_events_are_retried_without_a_limit() {
    suite::projection_parks::failures_outside_the_events_are_retried_without_a_limit::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_damaged_event_and_a_panic_park_the_projection() {
    suite::projection_parks::a_damaged_event_and_a_panic_park_the_projection::<Postgres>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_fatal_error_ends_the_projection() {
    suite::projection_parks::a_fatal_error_ends_the_projection::<Postgres>().await;
}
