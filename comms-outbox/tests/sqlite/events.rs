//! The event store.

use super::{Sqlite, relay::blob, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_event_store_conforms() {
    suite::conformance::event_store::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_lose_no_update() {
    suite::events::concurrent_commands_lose_no_update::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_have_one_effect_for_each_key() {
    suite::commands::concurrent_commands_have_one_effect_for_each_key::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_times_do_not_decrease() {
    suite::events::recorded_times_do_not_decrease::<Sqlite>("(unixepoch() + 3600) * 1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_damaged_event_cannot_be_read() {
    suite::events::a_stream_with_a_damaged_event_cannot_be_read::<Sqlite>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_events_beyond_the_limits_are_refused() {
    suite::events::names_and_events_beyond_the_limits_are_refused::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_equal_appends_is_a_repetition() {
    suite::events::one_of_two_equal_appends_is_a_repetition::<Sqlite>().await;
}
