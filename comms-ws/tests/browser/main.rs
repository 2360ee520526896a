//! The client for browsers in Node.js: against a scripted server by the test runner of Node.js, and against a hub.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

mod hub;

use std::process::Command;

/// Returns a command that runs Node.js with the classes of a browser, which are behind options in version 20.
fn node() -> Command {
    let node = std::env::var("COMMS_TEST_NODE").unwrap_or_else(|_| {
        panic!("COMMS_TEST_NODE is not set: run scripts/test, or export COMMS_TEST_NODE=\"$(scripts/node)\"")
    });
    let mut command = Command::new(node);
    command.args(["--experimental-websocket", "--experimental-eventsource", "--no-warnings"]);
    command
}

/// Runs `command`, which must succeed. Returns what it prints.
fn run(mut command: Command) -> String {
    let output = command.output().expect("Node.js");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn npm_node_runs_the_tests_of_the_browser_client() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/test");
    let files = std::fs::read_dir(folder).expect("the folder of the tests");
    let files = files.map(|file| file.expect("a file").path());
    let tests: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    assert!(!tests.is_empty(), "{folder} has no tests");
    let mut command = node();
    command.arg("--test").args(tests);
    run(command);
}
