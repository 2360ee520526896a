//! Runs the fuzz targets in `cargo test`, on each seed of the corpus and on a fixed sequence of mutations of the seeds.
//! `cargo fuzz` (see CONTRIBUTING.md) runs them with a coverage-guided search.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod runner;
#[expect(unreachable_pub, reason = "cargo fuzz uses the file as a library")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn every_input_satisfies_the_properties_of_its_target() {
    runner::run_all(targets::TARGETS);
}

#[test]
fn every_target_has_a_binary_for_cargo_fuzz() {
    runner::check_manifest(include_str!("../../fuzz/Cargo.toml"), targets::TARGETS);
}

#[test]
#[should_panic(expected = "a target with this name")]
fn an_unknown_target_panics() {
    targets::run("no_such_target", b"");
}
