//! Where a new relay begins.

use std::time::Duration;

use comms_outbox::Start;

use super::{
    Backend,
    gate::{Accepted, Gate},
    message, run, send, until,
};

/// The process crashes, or the database fails, between the first lease and the first save of the position. The
/// statement `fail` makes every update of the cursor fail, and `heal` reverts that.
pub async fn a_start_from_now_is_kept_although_the_first_session_failed<B: Backend>(fail: &str, heal: &str) {
    let (backend, accepted) = (B::start().await, Accepted::default());
    send(&backend, &[message("k", "before")]).await;
    backend.sql(fail).await;
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)).start(Start::Now));
    tokio::time::sleep(Duration::from_millis(500)).await;
    backend.sql(heal).await;
    until("it has the lease", async || backend.lease().await.2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    send(&backend, &[message("k", "after")]).await;
    until("the message is delivered", async || accepted.to("t").contains(&"after".to_owned())).await;
    relay.stop().await;
    assert_eq!(accepted.to("t"), ["after"]);
}
