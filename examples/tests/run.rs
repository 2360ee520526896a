//! Every example runs, by itself, to a good end, and prints what it shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{fs, path::Path, process::Command};

#[test]
fn every_example_runs_and_prints() {
    // Examples are built beside this test: target/debug/deps/run-… and target/debug/examples/….
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap().join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let output = Command::new(built.join(&name)).output().unwrap_or_else(|e| panic!("{name}: {e}"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}\n{said}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.trim().is_empty(), "{name} prints nothing");
        names.push(name);
    }
    assert!(!names.is_empty());
}
