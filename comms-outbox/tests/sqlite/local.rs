//! The suite of the consumer without a broker on SQLite.

use std::time::Duration;

use comms_core::{Delivery, Error, Outcome, handler_fn};

use super::{
    Sqlite,
    suite::{self, Backend, message, send, until},
};

/// Ends the session, as another session does.
const NEW_TOKEN: &str = "UPDATE comms_outbox_cursor SET token = hex(randomblob(16))";
/// Gives the lease to another member, for an hour.
const OTHER: &str = "
UPDATE comms_outbox_cursor SET owner = 'other', token = hex(randomblob(16)), lease = 3600000,
    lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + 3600000";

#[tokio::test(flavor = "multi_thread")]
async fn each_group_handles_every_message_of_its_topics_once() {
    suite::local::each_group_handles_every_message_of_its_topics_once::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_good_is_parked_until_its_release() {
    suite::local::a_message_that_fails_for_good_is_parked_until_its_release::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_degrades_the_health_of_the_consumer() {
    suite::local::a_held_message_degrades_the_health_of_the_consumer::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_policy_holds_lets_the_position_move_on() {
    suite::local::a_message_that_the_policy_holds_lets_the_position_move_on::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_a_topic_survives_a_refusal() {
    suite::local::the_order_of_a_topic_survives_a_refusal::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_lose_nothing_and_repeat_no_effect() {
    suite::local::crashes_lose_nothing_and_repeat_no_effect::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_handler_is_cancelled_at_shutdown_and_its_message_is_kept() {
    suite::local_ends::a_hanging_handler_is_cancelled_at_shutdown_and_its_message_is_kept::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_finishes_within_the_drain_time_is_acknowledged() {
    suite::local_ends::a_handler_that_finishes_within_the_drain_time_is_acknowledged::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_between_attempts_ends_at_shutdown() {
    suite::local_ends::a_wait_between_attempts_ends_at_shutdown::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_fences_its_attempts() {
    suite::local_ends::a_lost_session_fences_its_attempts::<Sqlite>(NEW_TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_stops_the_consumer_keeps_the_message() {
    suite::local_ends::a_failure_that_stops_the_consumer_keeps_the_message::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_has_ended_has_no_lag() {
    suite::local_ends::a_consumer_that_has_ended_has_no_lag::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_active_holds_no_message() {
    suite::local_ends::a_member_that_is_not_active_holds_no_message::<Sqlite>(OTHER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_full_batches_run_at_the_same_time() {
    suite::local_batches::two_full_batches_run_at_the_same_time::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_of_a_batch_is_parked_and_the_others_are_applied_once() {
    suite::local_batches::a_poison_message_of_a_batch_is_parked_and_the_others_are_applied_once::<Sqlite>()
        .await;
}

/// Settings of any length are taken, and do not keep the consumer from its end.
#[tokio::test]
async fn the_longest_times_are_no_fault() {
    let backend = Sqlite::start().await;
    let log = suite::local::Log::default();
    let seen = log.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(suite::recorder::payload(&delivery.message));
            match delivery.attempt {
                1 => Err(Error::conflict("once more")),
                _ => Ok(Outcome::Done),
            }
        }
    });
    let attempts = suite::local::attempts().timeout(Duration::MAX).hold_in_place(Duration::MAX);
    let consumer = backend.local("test").on("t", handler).attempts(attempts.hold_limit(Duration::MAX));
    let consumer = consumer.drain(Duration::MAX).hold_retry(Duration::MAX).poll_interval(Duration::MAX);
    let consumer = suite::consume(consumer);
    send(&backend, &[message("k", "1")]).await;
    until("it is delivered", async || log.lock().unwrap().len() == 2).await;
    consumer.stop().await;
}
