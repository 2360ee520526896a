//! Adds the services `audit` and `pulse` to those of the program. Each is one folder here and one line in a list.

mod audit;
mod pulse;

use std::{collections::BTreeMap, path::Path, time::Duration};

use reference_app::{
    platform::{config, service::Service},
    services,
    system::System,
};
use serde::Serialize;
use serde_json::Value;

use crate::support::{Buyer, eventually};

#[derive(Serialize)]
struct Overrides<'a> {
    data_dir: &'a Path,
    /// No servers, whatever the environment names.
    database: (),
    kafka: (),
    #[serde(flatten)]
    listeners: BTreeMap<&'static str, Listen>,
}

impl<'a> Overrides<'a> {
    /// Puts the listeners of `services` on free ports.
    fn new(data_dir: &'a Path, services: &[&'static Service]) -> Self {
        let names = services.iter().map(|service| service.name).chain(["admin"]);
        let listeners = names.map(|name| (name, Listen { listen: "127.0.0.1:0" })).collect();
        Self { data_dir, database: (), kafka: (), listeners }
    }
}

#[derive(Serialize)]
struct Listen {
    listen: &'static str,
}

#[tokio::test]
async fn a_service_is_added_by_one_folder_and_one_line() {
    let services = [services::ALL, &[&audit::SERVICE]].concat();

    let dir = tempfile::tempdir().unwrap();
    let overrides = Overrides::new(dir.path(), &services);
    let config = config::load(&services, None, None, overrides).unwrap();
    assert!(config.redacted().unwrap().contains("limit = 10"), "--print-config shows the listed key");
    let system = System::start(config).await.unwrap();
    let url = |name: &str| {
        let (_, scheme, address) = system.listeners().find(|(listener, ..)| *listener == name).unwrap();
        format!("{scheme}://{address}")
    };
    let token = reqwest::Client::new()
        .post(format!("{}/dev/token", url("gateway")))
        .json(&serde_json::json!({"user": "ann"}))
        .send()
        .await
        .unwrap();
    let token: Value = token.json().await.unwrap();
    let ann =
        Buyer::new("ann", token["token"].as_str().unwrap().to_owned(), &url("gateway"), &url("notification"));
    ann.place("key", 100).await;
    eventually("audit has seen all four statuses", Duration::from_secs(60), async || {
        let seen = reqwest::get(format!("{}/v1/seen", url("audit"))).await.unwrap().text().await.unwrap();
        (seen == "4 of 10").then_some(())
    })
    .await;
    let ready: Value = reqwest::get(format!("{}/readyz", url("admin"))).await.unwrap().json().await.unwrap();
    assert!(ready["parts"]["audit-orders"].is_object(), "{ready}");
    system.shut_down(std::future::pending()).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_background_loop_shuts_the_process_down() {
    let services = [services::ALL, &[&pulse::SERVICE]].concat();
    let dir = tempfile::tempdir().unwrap();
    let overrides = Overrides::new(dir.path(), &services);
    let system = System::start(config::load(&services, None, None, overrides).unwrap()).await.unwrap();
    let (_, scheme, _) = system.listeners().find(|(name, ..)| *name == "pulse").unwrap();
    assert_eq!(scheme, "https");
    tokio::time::timeout(Duration::from_secs(10), system.failed()).await.unwrap();
    let error = system.shut_down(std::future::pending()).await.unwrap_err().chain().to_string();
    assert!(error.contains("pulse: panicked: a defect of the loop"), "{error}");
}
