//! Starts that fail with an error that names the setting, and a restart after a kill.

use std::{net::TcpListener, process::Output, time::Duration};

use crate::support::{Deployment, Marketplace, Process, free_listeners};

fn run(args: &[&str], env: &[(&str, String)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Process::program()
        .current_dir(dir.path())
        .args(args)
        .envs(env.iter().map(|(k, v)| (*k, v)))
        .output()
        .unwrap()
}

/// Checks that the program failed and that its error contains `parts`.
fn assert_refused(parts: &[&str], output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_configuration_with_a_typo_is_refused_by_name() {
    assert_refused(
        &["COMMS_GATEWYA", "COMMS_GATEWAY"],
        &run(&[], &[("COMMS_GATEWYA__LISTEN", "127.0.0.1:1".into())]),
    );
    assert_refused(&["unknown-field", "full"], &run(&["--profile", "unknown-field"], &[]));
    assert_refused(&["database.url"], &run(&["--profile", "full"], &[]));
    assert_refused(&["need Kafka"], &run(&["--role", "order"], &[]));
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
    assert_refused(&[&address, "is in use by another process", "gateway.listen"], &output);
}

/// Runs the program on free ports, with the environment variables `more`.
fn run_on_free_ports(args: &[&str], more: &[(&str, &str)]) -> Output {
    let listeners = free_listeners();
    let mut env: Vec<_> = listeners.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    env.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    run(args, &env)
}

/// The error names the key, and does not show a value that may be a secret.
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
        let output = run_on_free_ports(&[], &env);
        assert_refused(&parts, &output);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused_with_the_option() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data").display().to_string();
    assert_refused(&["make it writable", "--data-dir"], &run_on_free_ports(&["--data-dir", &below], &[]));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("order_service.db")).unwrap();
    let data = dir.path().display().to_string();
    assert_refused(&["order_service.db", "--data-dir"], &run_on_free_ports(&["--data-dir", &data], &[]));
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let dir = marketplace.data_dir().display().to_string();
    let output = run_on_free_ports(&["--data-dir", &dir], &[]);
    assert_refused(&["in use by another process", "--data-dir"], &output);
}

/// The data directory is locked by one process, so the leases of a killed process are free for its successor.
#[tokio::test]
async fn a_restarted_process_takes_its_leases_without_waiting_for_their_expiry_embedded() {
    let mut marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_RELAY__LEASE", "60s")]).await;
    let ann = marketplace.buyer("ann");
    ann.place("first", 100).await;
    marketplace.settled(1, Duration::from_secs(20)).await;
    ann.place("just before", 100).await;
    marketplace.processes[0].kill();
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    ann.place_with_retries("just after", 100).await;
    // 20 s, and the lease lasts 60 s.
    marketplace.settled(3, Duration::from_secs(20)).await;
}
