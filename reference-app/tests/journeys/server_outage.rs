//! Starts and runs while PostgreSQL or Kafka cannot be reached: each process is live, and unready with the reason,
//! until the server is back.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::Value;

use crate::{
    support::{Buyer, Deployment, Marketplace, Process, eventually, free_listeners, server},
    tcp_proxy::TcpProxy,
};

const LIMIT: Duration = Duration::from_secs(30);
/// The services with a database.
const DATABASES: [&str; 5] = ["payment", "order", "notification", "ad", "analytics"];

/// Returns the status and the body of `/readyz`, or `None` if the process does not answer.
async fn readiness(process: &Process) -> Option<(u16, Value)> {
    let answer = reqwest::get(process.admin_url("/readyz")).await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

async fn assert_live(process: &Process) {
    assert_eq!(reqwest::get(process.admin_url("/livez")).await.unwrap().status(), 200, "{}", process.name);
}

/// Waits until the process is unready because of `part`, with a reason that contains `reason`.
async fn until_unready(process: &Process, part: &str, reason: &str) {
    eventually(&format!("{}: {part} is unready: {reason}", process.name), LIMIT, async || {
        let (status, report) = readiness(process).await?;
        let part = &report["parts"][part];
        let shown = part["reason"].as_str().is_some_and(|shown| shown.contains(reason));
        (status == 503 && part["status"] == "unready" && shown).then_some(())
    })
    .await;
}

/// Returns the host and port of a server's URL, or of a list of brokers with one entry.
fn address(url: &str) -> SocketAddr {
    let host = url.rsplit_once('@').map_or(url, |(_, host)| host);
    host.split('/').next().unwrap().parse().unwrap()
}

async fn status_of_an_order(buyer: &Buyer) -> u16 {
    buyer.post(Some("waits"), Buyer::body(100).to_string()).await.unwrap().status().as_u16()
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn roles_wait_for_a_database_that_is_away_full_by_role() {
    let mut proxy = TcpProxy::to(address(&server("COMMS_TEST_POSTGRES_URL"))).await;
    proxy.close().await;
    let mut marketplace = Marketplace::spawn_via(Deployment::FullByRole, Some(proxy.address()), &[]).await;
    for role in DATABASES {
        let process = marketplace.process(role);
        until_unready(process, &format!("database {role}_service"), "Connection refused").await;
        assert_live(process).await;
    }
    let ann = marketplace.buyer("ann");
    eventually("the gateway is ready: it has no database", LIMIT, async || {
        (readiness(marketplace.process("gateway")).await?.0 == 200).then_some(())
    })
    .await;
    assert_eq!(status_of_an_order(&ann).await, 503);

    proxy.reopen().await;
    marketplace.ready().await;
    ann.place_with_retries("waits", 100).await;
    marketplace.settled(1, LIMIT).await;

    // A second outage, while the processes run.
    proxy.close().await;
    for role in DATABASES {
        let process = marketplace.process(role);
        until_unready(process, &format!("database {role}_service"), "Connection refused").await;
        assert_live(process).await;
    }
    proxy.reopen().await;
    marketplace.ready().await;
    ann.place_with_retries("again", 100).await;
    marketplace.settled(2, LIMIT).await;
    for process in &mut marketplace.processes {
        assert!(process.terminate().await.success(), "{}", process.log());
    }
}

/// Orders are accepted during the outage. Their events wait in the outbox.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn roles_wait_for_a_broker_that_is_away_full_by_role() {
    let mut proxy = TcpProxy::to(server("COMMS_TEST_KAFKA_BROKERS").parse().unwrap()).await;
    proxy.close().await;
    let bootstrap = proxy.address().to_string();
    let brokers = [("COMMS_KAFKA__BROKERS", &*bootstrap)];
    let mut marketplace = Marketplace::spawn_with(Deployment::FullByRole, &brokers).await;
    for process in DATABASES.map(|role| marketplace.process(role)) {
        until_unready(process, "topics", "Connection refused").await;
        assert_live(process).await;
    }
    eventually("the gateway is ready without Kafka", LIMIT, async || {
        let (status, report) = readiness(marketplace.process("gateway")).await?;
        (status == 200 && report["parts"]["topics"].is_null()).then_some(())
    })
    .await;
    let ann = marketplace.buyer("ann");
    ann.place_with_retries("while away", 100).await;
    proxy.reopen().await;
    marketplace.ready().await;
    ann.place_with_retries("after", 100).await;
    marketplace.settled(2, Duration::from_secs(60)).await;
}

/// Starts a process of one role on free ports. No server answers at its addresses.
fn without_servers(role: &str, dir: &std::path::Path, more: &[(&str, &str)]) -> Process {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut env = free_listeners();
    let data = dir.join(role).display().to_string();
    let tls = dir.join("tls").display().to_string();
    let issuer = Process::program().args(["--data-dir", &data, "dev-issuer"]).output().unwrap();
    assert!(issuer.status.success());
    let key = format!("{data}/development-jwt-public.pem");
    let fixed = [
        ("COMMS_AUTH__PUBLIC_KEY_FILE", &*key),
        ("COMMS_ADMIN__LISTEN", &*format!("127.0.0.1:{admin}")),
        ("COMMS_DATA_DIR", &*data),
        ("COMMS_TLS__DIRECTORY", &*tls),
        ("COMMS_ORDER__URL", "https://127.0.0.1:1"),
        ("COMMS_PAYMENT__URL", "https://127.0.0.1:1"),
        ("COMMS_ANALYTICS__URL", "https://127.0.0.1:1"),
        ("COMMS_AD__URL", "https://127.0.0.1:1"),
        ("COMMS_NOTIFICATION__URL", "ws://127.0.0.1:1"),
        ("COMMS_KAFKA__BROKERS", "127.0.0.1:1"),
    ];
    env.extend(fixed.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let mut process = Process::new(role, dir, admin, &["--role", role], env);
    process.spawn();
    process
}

#[tokio::test]
async fn a_role_that_waits_for_its_servers_ends_in_order_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let database = [("COMMS_DATABASE__URL", "postgres://shop:hunter2@127.0.0.1:1/shop")];
    for role in DATABASES {
        let mut process = without_servers(role, dir.path(), &database);
        until_unready(&process, &format!("database {role}_service"), "Connection refused").await;
        until_unready(&process, "topics", "Connection refused").await;
        assert_live(&process).await;
        assert!(process.terminate().await.success(), "{}", process.log());
        let log = process.log();
        assert!(!log.contains("hunter2") && !log.contains("did not end in time"), "{log}");
    }
    let mut gateway = without_servers("gateway", dir.path(), &database);
    gateway.ready().await;
    assert!(gateway.terminate().await.success(), "{}", gateway.log());
}

/// The reason names the number of brokers, the replication factor and the setting.
#[tokio::test]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_replication_factor_above_the_number_of_brokers_leaves_the_process_unready() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = server("COMMS_TEST_KAFKA_BROKERS");
    let prefix = format!("{}.", dir.path().file_name().unwrap().to_string_lossy().replace('.', ""));
    let more = [
        ("COMMS_KAFKA__BROKERS", &*brokers),
        ("COMMS_KAFKA__PREFIX", &*prefix),
        ("COMMS_KAFKA__REPLICATION_FACTOR", "300"),
    ];
    let mut process = without_servers("payment", dir.path(), &more);
    until_unready(&process, "topics", "COMMS_KAFKA__REPLICATION_FACTOR").await;
    until_unready(&process, "topics", "is declared with replication 300, and the cluster has").await;
    assert_live(&process).await;
    assert!(process.terminate().await.success(), "{}", process.log());
}

#[tokio::test]
async fn an_unavailable_broker_makes_the_process_unready_and_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut env = free_listeners();
    env.push(("COMMS_ADMIN__LISTEN".into(), format!("127.0.0.1:{admin}")));
    env.push(("COMMS_DATA_DIR".into(), dir.path().join("data").display().to_string()));
    env.push(("COMMS_KAFKA__BROKERS".into(), "127.0.0.1:1".into()));
    let mut process = Process::new("away", dir.path(), admin, &[], env);
    process.spawn();
    let url = process.admin_url("/readyz");
    eventually("unready with the reason", Duration::from_secs(60), async || {
        let report: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
        let reason = report["parts"]["topics"]["reason"].as_str()?;
        (report["status"] == "unready" && reason.contains("topics not ready")).then_some(())
    })
    .await;
    // Longer than the time limit of one request to the cluster.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 503);
    assert!(process.terminate().await.success(), "shutdown ends the wait");
}
