//! The relay's suite on SQLite.

use super::{Sqlite, suite};

/// Writes the lease of a clock that was an hour ahead.
const WRONG_CLOCK: &str =
    "UPDATE comms_outbox_cursor SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + 3600000";
/// Ends the session, as another session or `cover_only` does.
const NEW_TOKEN: &str = "UPDATE comms_outbox_cursor SET token = hex(randomblob(16))";

pub fn blob(bytes: &[u8]) -> String {
    format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_is_held_while_others_continue() {
    suite::branches::a_refused_topic_is_held_while_others_continue::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transient_refusal_holds_its_topic() {
    suite::branches::each_transient_refusal_holds_its_topic::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_behind_a_refused_one_are_delivered_once() {
    suite::branches::messages_behind_a_refused_one_are_delivered_once::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_refused_repeatedly_loses_nothing() {
    suite::branches::a_topic_that_is_refused_repeatedly_loses_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_skips_no_undelivered_message() {
    suite::branches::a_shutdown_skips_no_undelivered_message::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_acknowledgements_is_bounded_by_the_in_flight_limit() {
    suite::branches::a_topic_without_acknowledgements_is_bounded_by_the_in_flight_limit::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_topic_loses_no_row() {
    suite::reconfigure::an_added_topic_loses_no_row::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_removed_and_added_again_loses_no_row() {
    suite::reconfigure::a_topic_that_is_removed_and_added_again_loses_no_row::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_all_topics_may_name_some_for_a_while() {
    suite::reconfigure::a_relay_of_all_topics_may_name_some_for_a_while::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_some_topics_may_change_to_all() {
    suite::reconfigure::a_relay_of_some_topics_may_change_to_all::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_moves_between_all_kinds_of_processes() {
    suite::reconfigure::a_topic_moves_between_all_kinds_of_processes::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_a_process_is_reported() {
    suite::reconfigure::a_topic_without_a_process_is_reported::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_delivers_topics_that_the_old_one_did_not_name() {
    suite::reconfigure::a_new_process_delivers_topics_that_the_old_one_did_not_name::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_now_skips_older_rows() {
    suite::reconfigure::a_start_from_now_skips_older_rows::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_reconfigurations_lose_nothing() {
    suite::rolling::random_reconfigurations_lose_nothing::<Sqlite>(0..24, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_decode_parks_its_key_alone() {
    suite::damage::a_row_that_does_not_decode_parks_its_key_alone::<Sqlite>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_is_delivered() {
    suite::damage::a_megabyte_of_headers_is_delivered::<Sqlite>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_wrong_clock_wrote_is_taken() {
    suite::sessions::a_lease_that_a_wrong_clock_wrote_is_taken::<Sqlite>(WRONG_CLOCK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_the_same_owner_takes_its_lease_at_once() {
    suite::sessions::a_restart_under_the_same_owner_takes_its_lease_at_once::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_different_by_default() {
    suite::sessions::owners_are_different_by_default::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_under_a_running_relay_loses_nothing() {
    suite::sessions::a_session_that_ends_under_a_running_relay_loses_nothing::<Sqlite>(NEW_TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_take_little_memory() {
    let insert = format!(
        "INSERT INTO comms_outbox (source, msg_id, topic, headers, payload)
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT {})
         SELECT 'test', CAST(n AS TEXT), 't', x'', zeroblob({}) FROM n",
        suite::bounds::ROWS,
        suite::bounds::LARGE
    );
    suite::bounds::large_rows_take_little_memory::<Sqlite>("relay::large_rows_take_little_memory", &insert)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_all_sizes_are_delivered_in_order() {
    suite::bounds::rows_of_all_sizes_are_delivered_in_order::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_larger_than_a_page_is_delivered() {
    suite::bounds::a_row_larger_than_a_page_is_delivered::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_names_fewer_topics_takes_over_within_a_backlog() {
    suite::reconfigure::a_process_that_names_fewer_topics_takes_over_within_a_backlog::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_message_waits_for_a_process_that_names_its_topic() {
    suite::reconfigure::a_released_message_waits_for_a_process_that_names_its_topic::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_catches_up_over_deleted_rows() {
    suite::reconfigure::a_topic_catches_up_over_deleted_rows::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_now_survives_a_crash() {
    suite::reconfigure::a_start_from_now_survives_a_crash::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_ahead_does_not_delay_the_others() {
    suite::reconfigure::a_topic_that_is_ahead_does_not_delay_the_others::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn released_messages_of_a_held_topic_do_not_delay_other_topics() {
    suite::released::released_messages_of_a_held_topic_do_not_delay_other_topics::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn released_messages_that_are_refused_do_not_delay_other_topics() {
    suite::released::released_messages_that_are_refused_do_not_delay_other_topics::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_now_is_kept_although_the_first_session_failed() {
    let fail =
        "CREATE TRIGGER failing BEFORE UPDATE ON comms_outbox_cursor BEGIN SELECT RAISE(ABORT, 'no'); END";
    suite::starts::a_start_from_now_is_kept_although_the_first_session_failed::<Sqlite>(
        fail,
        "DROP TRIGGER failing",
    )
    .await;
}
