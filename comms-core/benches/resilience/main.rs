//! The cost of the guards when they permit a call and when they reject one, compared with other libraries.
//!
//! The contenders of a group take turns of a few milliseconds, round after round, so that a change of the machine's
//! speed affects all of them. The ratio is the median, over the rounds, of the two turns in one round.
//!
//! `cargo bench -p comms-core --features rate-limit [--bench resilience -- GROUP...]`
//!
//! `one GROUP CONTENDER TIMES` runs one contender, by its number from 0, TIMES times. Under
//! `valgrind --tool=callgrind`, the difference between two such runs is the number of instructions of a call, which is
//! reproducible.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

mod breaker;
mod group;
mod limits;
mod stack;

use group::Group;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    type Entry = (&'static str, fn() -> Group);
    let groups: [Entry; 10] = [
        ("clock", limits::clock),
        ("stack", stack::stack),
        ("breaker", breaker::closed),
        ("window", breaker::window),
        ("open", breaker::open),
        ("threads-2", || breaker::threads(2)),
        ("threads-8", || breaker::threads(8)),
        ("rate", limits::rate),
        ("rate-keyed", limits::keyed),
        ("bulkhead", limits::bulkhead),
    ];
    if let [one, group, contender, times] = wanted.as_slice()
        && one == "one"
    {
        let (_, group) = groups.iter().find(|(name, _)| name == group).expect("a group of this name");
        return group().run_one(contender.parse().unwrap(), times.parse().unwrap());
    }
    for (name, group) in groups {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            group().run();
        }
    }
}
