//! Runs every example and checks its output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// The examples that need no server, and a part of each one's output.
const EMBEDDED: &[(&str, &str)] = &[
    ("bulkhead", "one more report: rejected: batch: the bulkhead is full"),
    ("circuit_breaker", "-- closed -> open"),
    ("consumer_test", "order.placed/0@2, attempt 1, key order-2: returned duplicate"),
    ("cqrs", "Err(\"conflict: the stream seat/8 has version 1, expected was a new stream\")"),
    ("deadline", "indeterminate: stock: no answer within the time limit"),
    ("event_sourcing", "conflict: the stream account/a-1 has version 2, expected was version 1"),
    ("event_versions", "order.placed.v3: 2 incompatible"),
    ("grpc_deadline", "C: the handler is dropped"),
    ("grpc_mtls", "order: receipt for spiffe://shop.test/order"),
    ("grpc_retry", "attempts: 2, charges: 1, the caller gets"),
    ("grpc_stream_resume", "server: a call for the events after 5, Some(Again)"),
    ("kafka", "dead letter: invalid: decode order.status.changed"),
    ("local_to_kafka", "2 invoices"),
    ("outbox", "1 order, 1 invoice"),
    ("projection", "live revision, orders by state: (2, [(\"paid\", 2), (\"placed\", 1)])"),
    ("rate_limit", "429 Too Many Requests"),
    ("retry_budget", "1000 attempts, 5.00 per request"),
    ("saga_diagram", "CompensateInventory --> PaymentCancelled : compensated"),
    ("saga_choreography", "order-3 | Failed"),
    ("saga_orchestration", "order-1 | Completed"),
    ("sse", "the same ticket again: HTTP/1.1 401 Unauthorized"),
    ("webhook", "a retry: SeenBefore"),
    ("ws_fan_out", "then close code 4408"),
    ("ws_resume", "a repetition: Duplicate"),
    ("ws_two_nodes", "Duplicate(Position"),
];

const OUTBOX_TO_KAFKA: &str = "outbox_to_kafka";

/// Returns the command of an example, without the variables that name servers. Cargo builds this test as
/// `target/debug/deps/run-…` and the examples as `target/debug/examples/…`.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap().join("examples");
    let mut command = Command::new(built.join(name));
    for variable in ["DATABASE_URL", "COMMS_TEST_POSTGRES_URL", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command. Returns whether it succeeded, and its output on both streams.
fn run(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (output.status.success(), [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap()).concat())
}

/// Runs `outbox_to_kafka` on the database of the tests.
fn outbox_to_kafka(brokers: Option<&str>) {
    let mut command = example(OUTBOX_TO_KAFKA);
    command.env("DATABASE_URL", std::env::var("COMMS_TEST_POSTGRES_URL").unwrap());
    command.envs(brokers.map(|brokers| ("KAFKA_BROKERS", brokers)));
    let (success, printed) = run(command);
    assert!(success && printed.contains("1 order, 1 invoice"), "{printed}");
}

#[test]
fn every_example_succeeds_and_prints_its_results() {
    for (name, line) in EMBEDDED {
        let (success, printed) = run(example(name));
        assert!(success && printed.contains(line), "{name}:\n{printed}");
    }
}

#[test]
fn every_example_is_tested_and_listed_with_its_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(root.join("examples")).unwrap();
    let names: BTreeSet<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let tested = EMBEDDED.iter().map(|(name, _)| *name).chain([OUTBOX_TO_KAFKA]);
    assert_eq!(names, tested.map(str::to_owned).collect());
    let list = fs::read_to_string(root.join("README.md")).unwrap();
    for name in names {
        let command = format!("cargo run -p examples --example {name}`");
        let source = fs::read_to_string(root.join(format!("examples/{name}.rs"))).unwrap();
        assert!(list.contains(&command) && source.contains(&command), "{name}");
        assert!(list.contains(&format!("(examples/{name}.rs)")), "{name}");
    }
}

#[test]
fn without_a_database_the_example_names_the_variable_to_set() {
    let (success, printed) = run(example(OUTBOX_TO_KAFKA));
    assert!(!success && printed.contains("set DATABASE_URL to a PostgreSQL database"), "{printed}");
}

#[test]
#[ignore = "needs PostgreSQL; run scripts/test"]
fn the_outbox_reaches_a_mock_cluster() {
    outbox_to_kafka(None);
}

#[test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
fn the_outbox_reaches_a_cluster() {
    outbox_to_kafka(Some(&std::env::var("COMMS_TEST_KAFKA_BROKERS").unwrap()));
}
