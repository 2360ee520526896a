//! The commands that the program prints and the README lists, run in shells: they place an order that is delivered.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Deployment, Marketplace, Process, eventually, server};

/// Runs a printed block in a new shell, as in a new terminal.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// Returns the printed blocks, which begin with a comment.
fn blocks(log: &str) -> Vec<String> {
    let blocks = log.split("\n\n").filter(|block| block.trim_start().starts_with("# "));
    blocks.map(str::to_owned).collect()
}

/// Runs the printed blocks of `process`: opens a socket, places an order, and waits until the socket shows it as DELIVERED.
async fn run_printed_commands(process: &Process, before: &str) {
    let log = process.log();
    let blocks = blocks(&log);
    assert_eq!(blocks.len(), 2, "{log}");
    let (watch, place) = (&blocks[0], &blocks[1]);
    let seen = tempfile::NamedTempFile::new().unwrap();
    let script = format!("{before}\n{watch}");
    let mut watching = shell(&script).stdout(seen.reopen().unwrap()).spawn().unwrap();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(seen.path()).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let shown = || std::fs::read_to_string(seen.path()).unwrap_or_default();
    eventually("the socket is open", Duration::from_secs(10), async || {
        lines().iter().any(|frame| frame["type"] == "welcome").then_some(())
    })
    .await;
    let placed = shell(&format!("{before}\n{place}")).output().unwrap();
    let placed = String::from_utf8(placed.stdout).unwrap();
    assert!(placed.starts_with("HTTP/1.1 202"), "{placed}");
    eventually("the watcher prints DELIVERED", Duration::from_secs(60), async || {
        lines().iter().any(|frame| frame["data"]["status"] == "DELIVERED").then_some(())
    })
    .await;
    assert!(!shown().contains("\u{fffd}"), "only JSON lines: {}", shown());
    // The shell is the parent of curl and of the filter, which must end first.
    let pid = watching.id().to_string();
    let _ = Command::new("pkill").args(["-P", &pid]).status();
    let _ = watching.kill();
    watching.wait().unwrap();
}

#[tokio::test]
async fn the_printed_commands_place_an_order_and_show_it_embedded() {
    // Without a configured key, the program creates the development issuer.
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__PUBLIC_KEY_FILE", "")]).await;
    run_printed_commands(&marketplace.processes[0], "").await;
}

#[test]
fn dev_issuer_needs_no_settings_of_a_start_and_refuses_invalid_users() {
    let dir = tempfile::tempdir().unwrap();
    let issue = |variables: &[(&str, &str)], user: &str| {
        let data_dir = dir.path().display().to_string();
        let mut program = Process::program();
        program.args(["dev-issuer", "--user", user, "--data-dir", &data_dir]).envs(variables.iter().copied());
        let output = program.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // The command creates the key that these settings require.
    for variables in [&[][..], &[("COMMS_PROFILE", "full")], &[("COMMS_GATEWAY__LISTEN", "0.0.0.0:8080")]] {
        assert_eq!(issue(variables, "ann"), (true, String::new()), "{variables:?}");
    }
    for user in ["", "a\nb", &"x".repeat(257)] {
        let (done, text) = issue(&[], user);
        assert!(!done && text.contains("--user") && text.contains("1 to 256 bytes"), "{user:?}: {text}");
    }
}

/// The commands of the README for the profile `full`: `dev-issuer` creates the issuer and a token, and the first
/// start creates the demonstration ads.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn the_printed_commands_place_an_order_with_the_development_issuer_full() {
    assert!(!server("COMMS_TEST_KAFKA_BROKERS").is_empty());
    let dir = tempfile::tempdir().unwrap();
    let output = Process::program()
        .args(["--data-dir", &dir.path().display().to_string(), "dev-issuer", "--user", "ann"])
        .output()
        .unwrap();
    let exports = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value = |name: &str| {
        let script = format!("{exports}\nprintf %s \"${name}\"");
        String::from_utf8(shell(&script).output().unwrap().stdout).unwrap()
    };
    let variables = ["COMMS_AUTH__ISSUER", "COMMS_AUTH__AUDIENCE", "COMMS_AUTH__PUBLIC_KEY_FILE"];
    let values = variables.map(|name| (name, value(name)));
    let mut more: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    more.push(("COMMS_AD__DEMO", "true"));
    let marketplace = Marketplace::start_with(Deployment::Full, &more).await;
    run_printed_commands(&marketplace.processes[0], &exports).await;
}
