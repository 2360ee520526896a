//! The npm package @grpc/grpc-js.

use crate::{connections, from_peers, hedges, programs::Kind, retries, to_peers};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn an_unavailable_call_with_an_idempotency_key_is_retried() {
    to_peers::an_unavailable_call_with_an_idempotency_key_is_retried(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_retry_waits_as_long_as_the_server_asks() {
    to_peers::a_retry_waits_as_long_as_the_server_asks(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn an_unavailable_call_without_a_proof_is_attempted_once() {
    to_peers::an_unavailable_call_without_a_proof_is_attempted_once(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_negative_or_malformed_pushback_allows_no_retry() {
    to_peers::a_negative_or_malformed_pushback_allows_no_retry(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_server_observes_the_deadline_and_the_end_of_the_call() {
    to_peers::the_server_observes_the_deadline_and_the_end_of_the_call(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_dropped_call_is_cancelled_at_the_server() {
    to_peers::a_dropped_call_is_cancelled_at_the_server(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_details_of_a_status_are_read() {
    to_peers::the_details_of_a_status_are_read(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn big_messages_pass_between_the_channel_and_the_peer() {
    to_peers::big_messages_pass_between_the_channel_and_the_peer(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_deadline_of_a_client_reaches_the_handler_and_ends_it() {
    from_peers::the_deadline_of_a_client_reaches_the_handler_and_ends_it(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_limit_of_the_server_ends_a_call_without_a_deadline() {
    from_peers::the_limit_of_the_server_ends_a_call_without_a_deadline(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_cancelled_call_drops_the_handler() {
    from_peers::a_cancelled_call_drops_the_handler(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_details_of_a_status_reach_the_peer() {
    from_peers::the_details_of_a_status_reach_the_peer(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn retries_of_a_client_wait_as_long_as_the_server_asks() {
    from_peers::retries_of_a_client_wait_as_long_as_the_server_asks(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn big_messages_pass_between_the_peer_and_the_server() {
    from_peers::big_messages_pass_between_the_peer_and_the_server(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_shutdown_lets_calls_finish() {
    from_peers::a_shutdown_lets_calls_finish(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_result_of_a_call_is_true_when_connections_reach_their_maximum_age() {
    connections::the_result_of_a_call_is_true_when_connections_reach_their_maximum_age(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_killed_server_makes_calls_indeterminate_and_then_not_executed() {
    connections::a_killed_server_makes_calls_indeterminate_and_then_not_executed(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn no_call_is_lost_when_connections_reach_their_maximum_age() {
    retries::no_call_is_lost_when_connections_reach_their_maximum_age(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_channel_retries_a_call_with_an_idempotency_key() {
    retries::the_channel_retries_a_call_with_an_idempotency_key(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_channel_retries_a_call_of_an_idempotent_method() {
    retries::the_channel_retries_a_call_of_an_idempotent_method(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_channel_waits_as_long_as_the_server_asks() {
    retries::the_channel_waits_as_long_as_the_server_asks(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_negative_or_malformed_pushback_ends_the_call() {
    retries::a_negative_or_malformed_pushback_ends_the_call(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn the_deadline_of_an_attempt_is_that_of_the_server() {
    retries::the_deadline_of_an_attempt_is_that_of_the_server(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn calls_with_a_key_survive_the_end_of_one_of_two_servers() {
    retries::calls_with_a_key_survive_the_end_of_one_of_two_servers(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_call_waits_for_a_server_that_is_not_there_yet() {
    retries::a_call_waits_for_a_server_that_is_not_there_yet(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn a_hedge_carries_its_number_and_waits_as_long_as_the_server_asks() {
    hedges::a_hedge_carries_its_number_and_waits_as_long_as_the_server_asks(Kind::GrpcJs).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; run scripts/test"]
async fn all_attempts_of_a_hedged_call_are_cancelled_at_the_server() {
    hedges::all_attempts_of_a_hedged_call_are_cancelled_at_the_server(Kind::GrpcJs).await;
}
