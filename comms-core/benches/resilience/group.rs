//! A group of contenders that are measured in turns.

use std::time::{Duration, Instant};

/// Runs the operation the given number of times and returns the time it took.
type Operation = Box<dyn FnMut(u64) -> Duration>;

pub(crate) struct Group {
    title: String,
    turn: Duration,
    contenders: Vec<(String, Operation)>,
}

const ROUNDS: usize = 41;
const TURN: Duration = Duration::from_millis(4);

impl Group {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), turn: TURN, contenders: Vec::new() }
    }

    /// Lengthens the turns, for operations that take time to start, such as threads.
    pub(crate) fn long_turns(self) -> Self {
        Self { turn: TURN * 10, ..self }
    }

    /// Adds a contender. The ratios are relative to the first one.
    pub(crate) fn add(mut self, name: impl Into<String>, mut operation: impl FnMut() + 'static) -> Self {
        let timed = move |times: u64| {
            let started = Instant::now();
            for _ in 0..times {
                operation();
            }
            started.elapsed()
        };
        self.contenders.push((name.into(), Box::new(timed)));
        self
    }

    /// Adds a contender that measures its own time.
    pub(crate) fn add_timed(
        mut self,
        name: impl Into<String>,
        operation: impl FnMut(u64) -> Duration + 'static,
    ) -> Self {
        self.contenders.push((name.into(), Box::new(operation)));
        self
    }

    /// Runs one contender `times` times without calibration, for a tool that counts instructions.
    pub(crate) fn run_one(mut self, contender: usize, times: u64) {
        let (name, operation) = &mut self.contenders[contender];
        operation(times);
        println!("{name}, {times} times");
    }

    pub(crate) fn run(mut self) {
        let times: Vec<u64> =
            self.contenders.iter_mut().map(|(_, operation)| calibrate(operation, self.turn)).collect();
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        for _ in 0..ROUNDS {
            let turn = |((_, operation), times): (&mut (String, Operation), &u64)| {
                operation(*times).as_nanos() as f64 / *times as f64
            };
            rounds.push(self.contenders.iter_mut().zip(&times).map(turn).collect());
        }
        println!("\n{}\n{:-<1$}", self.title, 78);
        for (index, (name, _)) in self.contenders.iter().enumerate() {
            let nanos = median(rounds.iter().map(|round| round[index]));
            let ratio = median(rounds.iter().map(|round| round[index] / round[0]));
            println!("{name:<52} {nanos:>9.1} ns  x{ratio:>7.3}");
        }
    }
}

fn calibrate(operation: &mut Operation, turn: Duration) -> u64 {
    let mut times = 64;
    loop {
        let elapsed = operation(times);
        if elapsed >= turn / 4 {
            return (times as f64 * turn.as_secs_f64() / elapsed.as_secs_f64()).max(1.0) as u64;
        }
        times *= 2;
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
