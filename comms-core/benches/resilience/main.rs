//! What the guards cost on the happy path and when they say no, beside the best of the field.
//!
//! Contenders of a group take turns of a few milliseconds, round after round, so that a machine that changes its
//! speed changes it for all; the ratio is the median over rounds of the two turns in one round.
//!
//! `cargo bench -p comms-core --features rate-limit [--bench resilience -- GROUP...]`
//!
//! With `one GROUP CONTENDER TIMES` it runs the contender of that number so many times: under
//! `valgrind --tool=callgrind` the difference of two runs gives the instructions of a call, the same every time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program that measures"
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
