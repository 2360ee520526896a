//! Peers that send requests and do not read the responses.

use futures::future::join_all;
use tokio::time::timeout;

use super::{Attacked, WAIT};

#[tokio::test]
async fn peers_that_read_nothing_are_disconnected_by_every_listener_embedded() {
    let attacked = Attacked::start_strict().await;
    let pipelines = attacked.http().map(async |target| {
        let cut = timeout(WAIT * 3, target.pipeline()).await;
        cut.unwrap_or_else(|_| panic!("{}: pipelined requests", target.name));
    });
    let windows = attacked.targets.map(async |target| {
        let cut = timeout(WAIT, target.zero_window()).await;
        cut.unwrap_or_else(|_| panic!("{}: a window of 0", target.name));
    });
    tokio::join!(join_all(pipelines), join_all(windows), attacked.serves("beside"));
    let metrics = reqwest::get(attacked.marketplace.processes[0].admin_url("/metrics")).await.unwrap();
    let text = metrics.text().await.unwrap();
    for target in attacked.targets {
        let cut = text.lines().any(|line| {
            line.starts_with("comms_connections_closed_total")
                && line.contains(&format!("listener=\"{}\"", target.name))
                && line.contains("progress_timeout")
                && !line.ends_with(" 0")
        });
        assert!(cut, "{}: {text}", target.name);
    }
}
