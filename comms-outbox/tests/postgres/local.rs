//! The suite of the consumer without a broker on PostgreSQL.

use super::{
    Postgres,
    suite::{self, Backend},
};

/// Ends the session, as another session does.
const NEW_TOKEN: &str = "UPDATE {s}.comms_outbox_cursor SET token = gen_random_uuid()";
/// Gives the lease to another member, for an hour.
const OTHER: &str = "
UPDATE {s}.comms_outbox_cursor SET owner = 'other', token = gen_random_uuid(),
    lease = interval '1 hour', lease_until = clock_timestamp() + interval '1 hour'";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_group_handles_every_message_of_its_topics_once() {
    suite::local::each_group_handles_every_message_of_its_topics_once::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_message_that_fails_for_good_is_parked_until_its_release() {
    suite::local::a_message_that_fails_for_good_is_parked_until_its_release::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_held_message_degrades_the_health_of_the_consumer() {
    suite::local::a_held_message_degrades_the_health_of_the_consumer::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_message_that_the_policy_holds_lets_the_position_move_on() {
    suite::local::a_message_that_the_policy_holds_lets_the_position_move_on::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_order_of_a_topic_survives_a_refusal() {
    suite::local::the_order_of_a_topic_survives_a_refusal::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn crashes_lose_nothing_and_repeat_no_effect() {
    suite::local::crashes_lose_nothing_and_repeat_no_effect::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_hanging_handler_is_cancelled_at_shutdown_and_its_message_is_kept() {
    suite::local_ends::a_hanging_handler_is_cancelled_at_shutdown_and_its_message_is_kept::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_handler_that_finishes_within_the_drain_time_is_acknowledged() {
    suite::local_ends::a_handler_that_finishes_within_the_drain_time_is_acknowledged::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_wait_between_attempts_ends_at_shutdown() {
    suite::local_ends::a_wait_between_attempts_ends_at_shutdown::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_lost_session_fences_its_attempts() {
    suite::local_ends::a_lost_session_fences_its_attempts::<Postgres>(NEW_TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_failure_that_stops_the_consumer_keeps_the_message() {
    suite::local_ends::a_failure_that_stops_the_consumer_keeps_the_message::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_consumer_that_has_ended_has_no_lag() {
    suite::local_ends::a_consumer_that_has_ended_has_no_lag::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_member_that_is_not_active_holds_no_message() {
    suite::local_ends::a_member_that_is_not_active_holds_no_message::<Postgres>(OTHER).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn two_full_batches_run_at_the_same_time() {
    suite::local_batches::two_full_batches_run_at_the_same_time::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_poison_message_of_a_batch_is_parked_and_the_others_are_applied_once() {
    suite::local_batches::a_poison_message_of_a_batch_is_parked_and_the_others_are_applied_once::<Postgres>()
        .await;
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_consumer_under_test_passes_the_suite() {
    let backend = Postgres::start().await;
    let store = comms_outbox::postgres::RelayStore::new(backend.pool.clone(), backend.tables.clone());
    let transport = comms_outbox::testing::OutboxTransport::new(backend.unit(), store);
    comms_core::testing::consumer::all(&transport).await.unwrap();
}
