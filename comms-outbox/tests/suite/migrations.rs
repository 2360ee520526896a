//! The migration of the tables, by several processes at once.

use comms_core::health::Health;

use super::{Backend, message, recorder::Recorder, run, send, until};

pub async fn repeated_and_concurrent_migrations_change_nothing<B: Backend>() {
    let backend = B::start().await;
    send(&backend, &[message("k", "1")]).await;
    backend.migrate().await.unwrap();
    let recorder = Recorder::new();
    let relay = run(backend.relay(recorder.clone()));
    until("the row is still there", async || recorder.count() == 1).await;
    relay.stop().await;

    backend.drop_tables().await;
    let migrate = |_| {
        let backend = backend.clone();
        tokio::spawn(async move { backend.migrate().await })
    };
    for migration in (0..6).map(migrate).collect::<Vec<_>>() {
        migration.await.unwrap().unwrap();
    }
    send(&backend, &[message("k", "2")]).await;
}

pub async fn a_relay_without_tables_is_unready_with_the_fix<B: Backend>() {
    let backend = B::start().await;
    backend.drop_tables().await;
    let (health, recorder) = (Health::new(), Recorder::new());
    let relay = run(backend.relay(recorder.clone()).health(health.component("relay")));
    let refused =
        || health.readiness().reason("relay").is_some_and(|reason| reason.contains("Tables::migrate"));
    until("the relay is unready and names the fix", async || refused()).await;
    backend.migrate().await.unwrap();
    send(&backend, &[message("k", "1")]).await;
    until("the relay continues", async || recorder.count() == 1 && health.is_ready()).await;
    relay.stop().await;
}
