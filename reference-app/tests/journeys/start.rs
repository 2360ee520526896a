//! Starting wrongly: each refusal says what to do. Starting again.

use std::{net::TcpListener, process::Output, time::Duration};

use crate::support::{Marketplace, Process, Shape, free_listeners};

fn run(args: &[&str], env: &[(&str, String)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Process::program()
        .current_dir(dir.path())
        .args(args)
        .envs(env.iter().map(|(k, v)| (*k, v)))
        .output()
        .unwrap()
}

fn refused(what: &[&str], output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for part in what {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_configuration_with_a_typo_is_refused_by_name() {
    refused(
        &["COMMS_GATEWYA", "COMMS_GATEWAY"],
        &run(&[], &[("COMMS_GATEWYA__LISTEN", "127.0.0.1:1".into())]),
    );
    refused(&["unknown-field", "full"], &run(&["--profile", "unknown-field"], &[]));
    refused(&["database.url"], &run(&["--profile", "full"], &[]));
    refused(&["need Kafka"], &run(&["--role", "order"], &[]));
}

#[test]
fn the_configuration_is_printed_without_passwords() {
    let output = run(&["--print-config"], &[("COMMS_DATABASE__URL", "postgres://u:hunter2@h/d".into())]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("url = \"[redacted]\"") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_busy_port_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&[], &[("COMMS_GATEWAY__LISTEN", address.clone())]);
    refused(&[&address, "in use by another process", "gateway.listen"], &output);
}

/// The program with free ports, and `more`.
fn run_anywhere(args: &[&str], more: &[(&str, &str)]) -> Output {
    let listeners = free_listeners();
    let mut env: Vec<_> = listeners.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    env.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    run(args, &env)
}

/// No server and no wait makes these work. The key is named, and no value that may be a secret is printed.
#[test]
fn settings_of_servers_that_can_never_work_end_the_start_at_once() {
    let (url, brokers, more) = ("COMMS_DATABASE__URL", "COMMS_KAFKA__BROKERS", "COMMS_KAFKA__LIBRDKAFKA");
    let any = (brokers, "127.0.0.1:1");
    let form = "postgres://user:password@host:port/database";
    for (env, parts) in [
        (vec![(url, "mysql://shop:hunter2@db/shop")], ["database.url", form]),
        (vec![(url, "postgres://shop:hunter2#@db/shop")], ["database.url", "percent-encoded"]),
        (vec![(url, "postgres://db/shop?pasword=hunter2")], ["database.url", "a parameter"]),
        (vec![(url, "postgres://shop:hunter2@db/shop?sslmode=require")], ["database.url", "without TLS"]),
        (vec![(brokers, "127.0.0.1:1,hunter2:x")], ["kafka", "entry 2 is not host:port"]),
        (vec![any, (more, r#"{"sasl.pasword"="hunter2"}"#)], ["kafka", "sasl.pasword"]),
        (vec![any, (more, r#"{"linger.ms"="hunter2"}"#)], ["kafka", "linger.ms"]),
    ] {
        let output = run_anywhere(&[], &env);
        refused(&parts, &output);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_ends_the_start_with_the_way_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data").display().to_string();
    refused(&["make it writable", "--data-dir"], &run_anywhere(&["--data-dir", &below], &[]));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("order_service.db")).unwrap();
    let data = dir.path().display().to_string();
    refused(&["order_service.db", "--data-dir"], &run_anywhere(&["--data-dir", &data], &[]));
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let marketplace = Marketplace::start(Shape::Embedded).await;
    let dir = marketplace.data_dir().display().to_string();
    let output = run_anywhere(&["--data-dir", &dir], &[]);
    refused(&["in use by another process", "--data-dir"], &output);
}

/// The leases of a killed process are its own: the data directory is locked by one process.
#[tokio::test]
async fn a_process_that_was_killed_takes_its_leases_again_at_once_embedded() {
    let mut marketplace = Marketplace::start_with(Shape::Embedded, &[("COMMS_RELAY__LEASE", "60s")]).await;
    let ann = marketplace.buyer("ann");
    ann.place("first", 100).await;
    marketplace.settled(1, Duration::from_secs(20)).await;
    ann.place("just before", 100).await;
    marketplace.processes[0].kill();
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    ann.insist("just after", 100).await;
    // Far below the lease.
    marketplace.settled(3, Duration::from_secs(20)).await;
}
