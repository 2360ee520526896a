//! Sagas.

use std::time::Duration;

use comms_core::UnitOfWork;
use comms_outbox::{
    saga::{RunCount, RunFilter, RunId, StoredRun, Timeline},
    sqlite::Tables,
};
use sqlx::AssertSqlSafe;

use super::{
    Sqlite,
    suite::{self, saga::Sagas},
};

impl Sagas for Sqlite {
    async fn run(&self, id: &str) -> Option<StoredRun> {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().saga_run(&mut conn, &RunId::new("order", id)).await.unwrap()
    }

    async fn runs(&self, filter: RunFilter, after: Option<RunId>, limit: u32) -> Vec<StoredRun> {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().saga_runs(&mut conn, &filter, after.as_ref(), limit).await.unwrap()
    }

    async fn timeline(&self, id: &str) -> Option<Timeline> {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().saga_timeline(&mut conn, &RunId::new("order", id)).await.unwrap()
    }

    async fn counts(&self) -> Vec<RunCount> {
        Tables::new().saga_counts(&mut self.pool.acquire().await.unwrap()).await.unwrap()
    }

    async fn delete_ended(&self, older_than: Duration, limit: u32) -> u64 {
        let mut tx = self.unit.begin().await.unwrap();
        let deleted = Tables::new().delete_ended_sagas(&mut tx, older_than, limit).await.unwrap();
        self.unit.commit(tx).await.unwrap();
        deleted
    }

    async fn sent(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT msg_id FROM comms_outbox ORDER BY id").fetch_all(&self.pool).await.unwrap()
    }

    fn is_postgres(&self) -> bool {
        false
    }

    async fn count(&self, table: &str) -> i64 {
        let text = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(text).fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_starts_in_the_callers_transaction() {
    suite::saga::a_run_starts_in_the_callers_transaction::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_follows_its_messages() {
    suite::saga::a_run_follows_its_messages::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_twice_or_late_changes_nothing() {
    suite::saga_messages::a_message_that_comes_twice_or_late_changes_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_starts_make_one_run() {
    suite::saga_messages::concurrent_starts_make_one_run::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_have_one_effect_each() {
    suite::saga_messages::two_coordinators_have_one_effect_each::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_event_is_given_to_its_run() {
    suite::saga_messages::an_early_event_is_given_to_its_run::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_events_are_bounded_and_expire() {
    suite::saga_messages::early_events_are_bounded_and_expire::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_handled_in_one_transaction_or_one_by_one() {
    suite::saga_messages::a_batch_is_handled_in_one_transaction_or_one_by_one::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_transaction_fails_is_handled_again() {
    suite::saga_messages::a_message_whose_transaction_fails_is_handled_again::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_a_reply_is_attempted_again_and_compensated() {
    suite::saga_timers::a_step_without_a_reply_is_attempted_again_and_compensated::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_not_current_is_deleted() {
    suite::saga_timers::a_timer_that_is_not_current_is_deleted::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_sets_lost_timers_again() {
    suite::saga_timers::a_sweep_sets_lost_timers_again::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_until_its_version_is_registered() {
    suite::saga_timers::a_run_waits_until_its_version_is_registered::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_function_stops_no_other_run() {
    suite::saga_timers::a_failing_function_stops_no_other_run::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_stops_its_own_run_alone() {
    suite::saga_timers::a_damaged_row_stops_its_own_run_alone::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_waits_for_the_database() {
    suite::saga_timers::the_loop_waits_for_the_database::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_a_run() {
    suite::saga_operators::an_operator_cancels_a_run::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_run_is_reported_and_continued() {
    suite::saga_operators::a_held_run_is_reported_and_continued::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_and_old_ones_deleted() {
    suite::saga_operators::runs_are_listed_and_old_ones_deleted::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_and_repeats_nothing() {
    suite::saga_timers::a_crash_loses_and_repeats_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_sweep_delays_no_timer() {
    suite::saga_faults::a_failing_sweep_delays_no_timer::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_the_reader_of_an_early_event() {
    suite::saga_faults::a_start_waits_for_the_reader_of_an_early_event::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_executed_holds_no_other_run_of_its_batch() {
    suite::saga_faults::a_run_that_is_not_executed_holds_no_other_run_of_its_batch::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_makes_no_idempotency_key_is_refused() {
    suite::saga_faults::an_id_that_makes_no_idempotency_key_is_refused::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_deletes_all_expired_events() {
    suite::saga_faults::one_sweep_deletes_all_expired_events::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_wait_is_stored() {
    suite::saga_faults::the_longest_wait_is_stored::<Sqlite>().await;
}
