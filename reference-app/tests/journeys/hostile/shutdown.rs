//! The shutdown of a process that has connections of silent peers.

use std::time::Duration;

use comms_core::clock::Clock;

use super::{Attacked, attacks::PREFACE};

#[tokio::test]
async fn silent_peers_do_not_delay_the_shutdown_embedded() {
    // The time limit of a head is above the time of a drain (6 s).
    let mut attacked = Attacked::start_with_tls(&[("COMMS_LISTENERS__HEAD_TIMEOUT", "10m")]).await;
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

/// A call without its message is aborted at the time limit of its stage.
#[tokio::test]
async fn calls_that_never_end_do_not_take_the_time_of_other_stages_embedded() {
    let mut attacked = Attacked::start(&[]).await;
    // The preface, SETTINGS, and HEADERS of a POST without END_STREAM.
    let half_call = |path: &str| {
        let field = |name: &str, value: &str| {
            [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
        };
        let fields = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":authority", "localhost"),
            field(":path", path),
            field("content-type", "application/grpc"),
        ]
        .concat();
        let head = [0, 0, fields.len() as u8, 1, 4, 0, 0, 0, 1];
        [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &head, &fields].concat()
    };
    let mut calls = Vec::new();
    for target in attacked.targets {
        match target.name {
            "order" => calls.push(target.send(&half_call("/comms.orders.v1.Orders/GetOrder")).await),
            "payment" => {
                calls.push(target.send(&half_call("/comms.payments.v1.Payments/RequestPayment")).await)
            }
            _ => {}
        }
    }
    attacked.serves("beside").await;
    assert!(attacked.marketplace.processes[0].terminate().await.success());
    let log = attacked.marketplace.processes[0].log();
    assert_eq!(log.matches("were cut").count(), 2, "{log}");
    assert!(!log.contains("did not end in time"), "{log}");
}
