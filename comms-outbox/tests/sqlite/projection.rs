//! Projections.

use std::time::Duration;

use comms_core::Error;
use comms_outbox::{
    ParkedEvent, Projection, ProjectionBuilder, Written,
    sqlite::{EventFeed, Tables},
};

use super::{
    Sqlite,
    relay::blob,
    suite::{
        self, Tx,
        projection::{Projections, settings},
    },
};

impl Projections for Sqlite {
    type Feed = EventFeed;

    fn feed(&self) -> EventFeed {
        EventFeed::new(self.pool.clone(), Tables::new())
    }

    fn projection(&self, name: &str) -> ProjectionBuilder<EventFeed> {
        settings(Projection::builder(self.feed(), name)).commit_signal(self.unit.commit_signal())
    }

    async fn written(&self, tx: &mut Tx<Self>) -> Written {
        Tables::new().written(tx).await.unwrap()
    }

    async fn wait_for(&self, name: &str, written: Written) -> Result<(), Error> {
        self.feed().wait_for(name, written, Duration::from_secs(10)).await
    }

    async fn live_revision(&self, name: &str) -> Option<u32> {
        Tables::new().live_revision(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn set_live_revision(&self, name: &str, revision: u32) {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().set_live_revision(&mut conn, name, revision).await.unwrap();
    }

    async fn parked_events(&self, name: &str) -> Vec<ParkedEvent> {
        Tables::new().parked_events(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn retry_event(&self, event: &ParkedEvent) -> bool {
        Tables::new().retry_event(&mut self.pool.acquire().await.unwrap(), event).await.unwrap()
    }

    async fn skip_event(&self, event: &ParkedEvent) -> bool {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().skip_event(&mut conn, event, "known").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_applied_once_over_crashes() {
    suite::projection::each_event_is_applied_once_over_crashes::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_overtaken_is_fenced() {
    suite::projection::a_process_that_was_overtaken_is_fenced::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_events_of_the_categories_are_applied() {
    suite::projection::only_events_of_the_categories_are_applied::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_what_it_has_written() {
    suite::projection::a_query_waits_for_what_it_has_written::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_what_was_committed_before_it() {
    suite::projection::a_query_waits_for_what_was_committed_before_it::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_revision_is_built_beside_the_live_one() {
    suite::projection::a_higher_revision_is_built_beside_the_live_one::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_for_the_live_revision() {
    suite::projection_reads::a_wait_is_for_the_live_revision::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_all_sizes_are_applied_in_order() {
    suite::projection_reads::events_of_all_sizes_are_applied_in_order::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_settings_that_cannot_work_are_refused() {
    suite::projection::names_and_settings_that_cannot_work_are_refused::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_parks_at_exactly_the_event_that_fails() {
    suite::projection_parks::a_projection_parks_at_exactly_the_event_that_fails::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_skips_an_event() {
    suite::projection_parks::an_operator_skips_an_event::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_skipped_while_it_is_attempted_again() {
    suite::projection_parks::an_event_is_skipped_while_it_is_attempted_again::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_is_divided() {
    suite::projection_parks::a_batch_that_is_too_large_is_divided::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_before_the_parked_one_are_applied_without_it() {
    suite::projection_parks::events_before_the_parked_one_are_applied_without_it::<Sqlite>(
        "UPDATE {s}.comms_outbox_cursor SET last_id = 0",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_outside_the_events_are_retried_without_a_limit() {
    suite::projection_parks::failures_outside_the_events_are_retried_without_a_limit::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_and_a_panic_park_the_projection() {
    suite::projection_parks::a_damaged_event_and_a_panic_park_the_projection::<Sqlite>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_ends_the_projection() {
    suite::projection_parks::a_fatal_error_ends_the_projection::<Sqlite>().await;
}

/// The projection does not keep the connection while it waits for one.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_for_a_projection_and_writers() {
    let backend = super::one_connection().await;
    let running = suite::projection::project(backend.projection("p").apply(suite::projection::all(&backend)));
    for _ in 0..100 {
        let write = suite::projection::append(&backend, "order", "a", 1);
        tokio::time::timeout(Duration::from_secs(4), write)
            .await
            .expect("no writer waits for the projection");
    }
    super::until("all are applied", async || super::suite::Backend::effects(&backend).await.len() == 100)
        .await;
    running.stop().await;
    suite::projection::complete(&backend, &["order/a"], 100).await;
}
