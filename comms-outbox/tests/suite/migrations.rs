//! Tables that are made once, by whoever comes first.

use comms_core::health::Health;

use super::{Backend, message, recorder::Recorder, run, send, until};

pub async fn migrating_again_and_at_once_changes_nothing<B: Backend>() {
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

pub async fn a_relay_without_tables_says_what_to_do<B: Backend>() {
    let backend = B::start().await;
    backend.drop_tables().await;
    let (health, recorder) = (Health::new(), Recorder::new());
    let relay = run(backend.relay(recorder.clone()).health(health.component("relay")));
    let refused = || health.readiness().reason("relay").is_some_and(|why| why.contains("Tables::migrate"));
    until("the relay is unready and says what to do", async || refused()).await;
    backend.migrate().await.unwrap();
    send(&backend, &[message("k", "1")]).await;
    until("it goes on by itself", async || recorder.count() == 1 && health.is_ready()).await;
    relay.stop().await;
}
