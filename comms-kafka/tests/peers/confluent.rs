//! The Python package confluent-kafka, by a script.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::records::Record;

/// Runs the script and returns the records that it prints.
fn run(arguments: &[&str], input: &str) -> Vec<Record> {
    let python = std::env::var("COMMS_TEST_PYTHON").expect(
        "COMMS_TEST_PYTHON is not set: run scripts/test, or export COMMS_TEST_PYTHON=\"$(scripts/python)\"",
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/confluent.py");
    let mut child = Command::new(&python)
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("COMMS_TEST_PYTHON={python}: {e}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed: see its output above");
    let records: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    records.iter().map(Record::from_json).collect()
}

/// Writes `records`, and returns them with their places.
pub fn write(brokers: &str, topic: &str, records: &[Record]) -> Vec<Record> {
    let records: Vec<_> = records.iter().map(Record::to_json).collect();
    run(&["write", brokers, topic], &Value::from(records).to_string())
}

/// Reads `count` records.
pub fn read(brokers: &str, topic: &str, count: usize) -> Vec<Record> {
    run(&["read", brokers, topic, &count.to_string()], "")
}
