//! Unary calls of 64 bytes through [`Channel`](comms_grpc::Channel) and [`serve`](comms_grpc::serve), beside the channel and
//! the server of tonic, in plain text and with mutual TLS.
//!
//! `cargo bench -p comms-grpc --all-features --bench unary` compares rates, latencies and processor time. Both sides take
//! turns, so that other load of the machine reaches both. Client and server share the process.
//!
//! `valgrind --tool=callgrind <the program> ours|tonic plain|mtls <calls>` counts the instructions of that number of calls
//! on one thread. The difference of two numbers of calls, divided by the calls between them, is the cost of one call
//! without the start.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

mod echo;
mod rounds;
mod sides;

use echo::{Caller, call_times};
use rounds::compare;
use sides::{Security, Sides};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => all(),
        [side @ ("ours" | "tonic"), security @ ("plain" | "mtls"), calls] => {
            let security = if *security == "mtls" { Security::MutualTls } else { Security::Plain };
            count(*side == "ours", security, calls.parse().unwrap());
        }
        _ => eprintln!("usage: unary [ours|tonic plain|mtls CALLS]"),
    }
}

/// Compares both sides.
fn all() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for security in [Security::Plain, Security::MutualTls] {
            let Sides { ours, tonic } = Sides::start(security).await;
            println!("{security:?}: medians of the ratios ours / tonic of {} rounds", rounds::ROUNDS);
            for in_flight in [1, 16, 64] {
                println!("{}", compare(&ours, &tonic, in_flight).await);
            }
        }
    });
}

/// Makes `calls` calls on one thread.
fn count(is_ours: bool, security: Security, calls: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Sides { ours, tonic } = Sides::start(security).await;
        if is_ours {
            call_times(&mut Caller::new(ours), calls).await;
        } else {
            call_times(&mut Caller::new(tonic), calls).await;
        }
    });
}
