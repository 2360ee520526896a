//! The shutdown of a process, and outputs that cannot be written.

use std::{process::Stdio, time::Duration};

use comms_grpc::Channel;
use http::uri::PathAndQuery;
use serde_json::Value;
use tonic_prost::ProstCodec;

use crate::{
    mutual_tls,
    support::{Deployment, Marketplace, Process, eventually},
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Returns the health that the standard health service of gRPC reports for a service.
async fn health(channel: &Channel) -> i32 {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = HealthCheckRequest { service: "comms.payments.v1.Payments".into() };
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    client.unary(tonic::Request::new(request), path, codec).await.unwrap().into_inner().status
}

/// A load balancer sees that readiness fails before the port is closed, over HTTP and over gRPC.
#[tokio::test]
async fn after_sigterm_readiness_fails_and_the_listeners_go_on_accepting_embedded() {
    let accepting = [("COMMS_SHUTDOWN__ACCEPTING", "5s")];
    let mut marketplace = Marketplace::start_with(Deployment::Embedded, &accepting).await;
    let ann = marketplace.buyer("ann");
    ann.place("before", 100).await;
    let read = format!("{}/v1/realtime", marketplace.gateway);
    let connection_header = async || reqwest::get(&read).await.unwrap().headers().get("connection").cloned();
    assert_eq!(connection_header().await, None);
    let channel = mutual_tls::channel(&marketplace, Some("order")).await;
    assert_eq!(health(&channel).await, SERVING);
    marketplace.processes[0].signal("TERM");
    let url = marketplace.processes[0].admin_url("/readyz");
    eventually("readiness fails", Duration::from_secs(3), async || {
        let answer = reqwest::get(&url).await.unwrap();
        (answer.status() == 503).then_some(())
    })
    .await;
    let report: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(report["parts"]["shutting down"]["status"], "unready", "{report}");
    assert_eq!(health(&channel).await, NOT_SERVING);
    // Clients must move kept-alive connections to another process.
    assert_eq!(connection_header().await.unwrap(), "close");
    // New connections are accepted: each of these clients opens one.
    for n in 0..5 {
        let fresh = marketplace.buyer("ann");
        fresh.place(&format!("meanwhile-{n}"), 100).await;
    }
    assert!(marketplace.processes[0].terminate().await.success());
    let log = marketplace.processes[0].log();
    let order = [
        "SIGTERM: shutting down",
        "the listeners still accept connections",
        "stage=\"edge\"",
        "stage=\"databases\"",
    ];
    let places: Vec<_> =
        order.iter().map(|line| log.find(line).unwrap_or_else(|| panic!("{line}: {log}"))).collect();
    assert!(places.is_sorted(), "{log}");
    assert!(log.contains("took="), "the log has no duration of a stage: {log}");
}

/// Messages to the user are lost, and the process continues.
#[tokio::test]
async fn a_closed_or_full_output_does_not_end_the_process_embedded() {
    for (what, redirection) in [("full", ">/dev/full 2>/dev/full"), ("closed", ">&- 2>&-")] {
        let mut marketplace = Marketplace::start(Deployment::Embedded).await;
        marketplace.processes[0].kill();
        marketplace.processes[0].run_by(&format!("exec \"$0\" \"$@\" {redirection}"));
        marketplace.processes[0].spawn();
        marketplace.ready().await;
        marketplace.buyer("ann").place("order", 100).await;
        marketplace.settled(1, Duration::from_secs(20)).await;
        assert!(marketplace.processes[0].terminate().await.success(), "{what}");
    }
}

/// `--print-config` fails if standard output cannot be written.
#[test]
fn print_config_fails_if_the_output_is_full() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Process::program().arg("--print-config").stdout(Stdio::from(full)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("standard output"), "{text}");
}
