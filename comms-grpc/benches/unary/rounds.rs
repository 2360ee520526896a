//! Rounds in which both sides take turns.

use std::{fmt, time::Duration};

use comms_core::{BoxError, clock::Clock};
use comms_grpc::{Channel, tonic};
use futures::future::join_all;
use tonic::{body::Body, client::GrpcService, transport};

use super::echo::{Caller, call_times};

pub(crate) const ROUNDS: usize = 9;
/// The duration of a turn of one side.
const TURN: Duration = Duration::from_millis(700);
const WARM_UP: u32 = 2_000;

/// The calls of one turn.
struct Turn {
    per_second: f64,
    /// The processor time of a call in microseconds, of both ends together.
    processor: f64,
    /// Latencies in microseconds.
    p50: f64,
    p99: f64,
}

/// The medians over all rounds.
pub(crate) struct Comparison {
    in_flight: usize,
    /// Values of our side, and their ratios to those of tonic.
    rate: (f64, f64),
    p50: (f64, f64),
    p99: (f64, f64),
    processor: (f64, f64),
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_flight, rate, p50, p99, processor } = self;
        write!(
            f,
            "in flight {in_flight:>2}: {:>6.0}/s {:.2}; p50 {:.0} us {:.2}; p99 {:.0} us {:.2}; \
             processor time {:.1} us {:.2}",
            rate.0, rate.1, p50.0, p50.1, p99.0, p99.1, processor.0, processor.1
        )
    }
}

/// Compares both sides with `in_flight` concurrent callers. The side that begins changes in each round.
pub(crate) async fn compare(ours: &Channel, plain: &transport::Channel, in_flight: usize) -> Comparison {
    call_times(&mut Caller::new(ours.clone()), WARM_UP).await;
    call_times(&mut Caller::new(plain.clone()), WARM_UP).await;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        rounds.push(if round % 2 == 0 {
            let ours = turn(ours, in_flight).await;
            (ours, turn(plain, in_flight).await)
        } else {
            let plain = turn(plain, in_flight).await;
            (turn(ours, in_flight).await, plain)
        });
    }
    let medians = |value: fn(&Turn) -> f64| {
        let own = rounds.iter().map(|(ours, _)| value(ours)).collect();
        let ratios = rounds.iter().map(|(ours, plain)| value(ours) / value(plain)).collect();
        (median(own), median(ratios))
    };
    Comparison {
        in_flight,
        rate: medians(|turn| turn.per_second),
        p50: medians(|turn| turn.p50),
        p99: medians(|turn| turn.p99),
        processor: medians(|turn| turn.processor),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn turn<T>(transport: &T, in_flight: usize) -> Turn
where
    T: GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static> + Clone,
{
    let clock = Clock::system();
    let (started, processor_started) = (clock.now(), processor_time());
    let callers = (0..in_flight).map(|_| async {
        let mut caller = Caller::new(transport.clone());
        let mut latencies = Vec::new();
        let mut now = clock.now();
        while now - started < TURN {
            caller.call().await;
            let ended = clock.now();
            latencies.push((ended - now).as_secs_f64() * 1e6);
            now = ended;
        }
        latencies
    });
    let mut latencies = join_all(callers).await.concat();
    let processor = processor_time() - processor_started;
    let (calls, seconds) = (latencies.len() as f64, (clock.now() - started).as_secs_f64());
    latencies.sort_by(f64::total_cmp);
    Turn {
        per_second: calls / seconds,
        processor: processor / calls,
        p50: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
    }
}

/// Returns the processor time of this process in microseconds, or 0 where it is not known (Linux only).
fn processor_time() -> f64 {
    let schedstat = |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default()
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| schedstat(thread.path().join("schedstat"))).sum::<f64>() / 1_000.0
}
