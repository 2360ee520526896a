//! Provisioning on a manual clock.

use comms_core::clock::Clock;
use comms_kafka::{KafkaConfig, TopicSpec, provision};
use std::time::Duration;

#[tokio::test]
async fn a_manual_clock_drives_the_timeout_of_provision() {
    let (away, clock) = (KafkaConfig::new("127.0.0.1:1"), Clock::manual(Duration::ZERO));
    let (topics, timeout) = ([TopicSpec::new("t", 1, 1)], Duration::from_secs(3_600));
    let (result, ()) =
        tokio::join!(biased; provision(&away, &topics, timeout, &clock), async { clock.advance(timeout) });
    let error = result.unwrap_err();
    assert!(error.kind.is_retryable(), "{error}");
}
