//! Starts the system as real processes, uses it over HTTP and WebSocket, and reads its databases.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "no test target uses all of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod client;
mod databases;
pub mod marketplace;
mod process;
mod stream;

pub use client::{Ads, Buyer, Socket};
pub use databases::Databases;
pub use marketplace::{Deployment, Marketplace};
pub use process::Process;
pub use stream::EventStream;

use std::time::Duration;

use reference_app::services;

/// Calls `probe` every 50 ms until it returns a value. Fails the test after `limit`.
pub async fn eventually<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        tokio::select! {
            () = &mut deadline => panic!("not within {limit:?}: {what}"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}

/// Returns the value of an environment variable that `scripts/test` sets.
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test"))
}

/// Returns environment variables that put the listeners of all services on free ports.
pub fn free_listeners() -> Vec<(String, String)> {
    let services = services::ALL.iter().filter(|service| service.protocol.is_some());
    let listen = |name: &str| (format!("COMMS_{}__LISTEN", name.to_uppercase()), "127.0.0.1:0".to_owned());
    services.map(|service| listen(service.name)).chain([listen("admin")]).collect()
}
