//! Backplanes that are used in a wrong way.

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock, shutdown::Shutdown};
use comms_ws::{
    CursorKey, Hub, HubConfig,
    backplane::{Backplane, Redis, Status},
};
use tokio::time::sleep;

use crate::{
    running::run,
    server::{config, shared_url},
};

fn redis() -> Redis {
    Redis::new(config("redis://127.0.0.1:1"), Clock::system()).unwrap()
}

fn build(redis: &Redis) -> Result<Hub, comms_core::Error> {
    let key = CursorKey::new(&[7; 32]).unwrap();
    Hub::builder(HubConfig::default(), Clock::system()).cursor_keys([key]).backplane(redis.clone()).build()
}

#[tokio::test]
async fn one_value_serves_one_hub() {
    let redis = redis();
    let hub = build(&redis).unwrap();
    let error = build(&redis).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("another hub"), "{error}");
    drop(hub);
    assert!(build(&redis).is_ok(), "the hub has ended");
}

#[tokio::test]
async fn a_hub_of_several_processes_needs_cursor_keys() {
    let hub = Hub::builder(HubConfig::default(), Clock::system()).backplane(redis()).build();
    let error = hub.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("cursor_keys"), "{error}");
}

/// The second call of `run` waits for the shutdown and does not take the subscriptions from the first.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn the_statistics_show_whether_the_backplane_runs() {
    let redis = Redis::new(config(&shared_url()), Clock::system()).unwrap();
    let hub = build(&redis).unwrap();
    assert_eq!(hub.stats().backplane, Status::NotRunning);
    let shutdown = Shutdown::new(Clock::system());
    let stage = shutdown.stage("backplane");
    for name in ["first", "second"] {
        let redis = redis.clone();
        stage.spawn(name, move |signal| async move {
            redis.run(signal).await;
            Ok(())
        });
    }
    while hub.stats().backplane != Status::Connected {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(shutdown.end(Duration::from_secs(30), std::future::pending()).await.is_clean());
    assert_eq!(hub.stats().backplane, Status::NotRunning);
}

#[tokio::test]
async fn a_server_that_is_away_is_shown() {
    let redis = redis();
    let hub = build(&redis).unwrap();
    run(redis);
    while hub.stats().backplane == Status::NotRunning {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(hub.stats().backplane, Status::Interrupted);
}
