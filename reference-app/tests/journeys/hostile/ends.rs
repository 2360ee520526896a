//! The end of a process while peers are silent.

use std::time::Duration;

use comms_core::Clock;

use super::{Attacked, peers::PREFACE};

#[tokio::test]
async fn silent_peers_do_not_delay_the_end_of_a_process_embedded() {
    // Limits of heads above those of the drains (6 s and 10 s).
    let mut attacked = Attacked::start(&[("COMMS_LISTENERS__HEAD_TIMEOUT", "10m")]).await;
    attacked.serves("before").await;
    let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let mut silent = Vec::new();
    for target in attacked.targets {
        for bytes in [&b""[..], b"P", PREFACE, &settings, b"GET / HT"] {
            silent.push(target.send(bytes).await);
        }
    }
    let _socket = attacked.marketplace.buyer("ann").socket().await;
    let clock = Clock::system();
    let begun = clock.now();
    assert!(attacked.marketplace.processes[0].terminate().await.success());
    let took = clock.now() - begun;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let log = attacked.marketplace.processes[0].log();
    assert!(!log.contains("were cut"), "{log}");
}
