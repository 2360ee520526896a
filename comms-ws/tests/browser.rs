//! The client for browsers, tested by the test runner of Node.js.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panic")]

use std::process::Command;

#[test]
fn node_runs_the_client_of_browsers() {
    let node = std::env::var("COMMS_TEST_NODE").unwrap_or_else(|_| {
        panic!("COMMS_TEST_NODE is not set: run scripts/test, or export COMMS_TEST_NODE=\"$(scripts/node)\"")
    });
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/test");
    let files = std::fs::read_dir(folder).expect("the folder of the tests");
    let files = files.map(|file| file.expect("a file").path());
    let tests: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    assert!(!tests.is_empty(), "{folder} has no tests");
    let mut command = Command::new(node);
    // The classes of a browser are behind these options in Node.js 20, and the first is on by default from 22 on.
    command
        .args(["--experimental-websocket", "--experimental-eventsource", "--no-warnings", "--test"])
        .args(tests);
    let output = command.output().expect("Node.js");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
