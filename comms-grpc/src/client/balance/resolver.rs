//! Resolves the host of a channel again and again, and replaces the set of endpoints.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use comms_core::clock::Clock;
use futures::future::BoxFuture;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::EndpointSet;
use crate::client::endpoint::{Endpoint, Settings as EndpointSettings};

/// The shortest time between two resolutions.
const SHORTEST: Duration = Duration::from_secs(5);
/// The maximum number of addresses that are used.
const MAX_ADDRESSES: usize = 256;

/// Returns the addresses of the host.
pub(in crate::client) type Lookup =
    Box<dyn Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Returns the look-up of `host` by the operating system.
pub(in crate::client) fn system_lookup(host: String, port: u16) -> Lookup {
    Box::new(move || {
        let host = host.clone();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    })
}

/// The settings of the resolution.
pub(in crate::client) struct Settings {
    pub(in crate::client) lookup: Lookup,
    /// Makes the endpoint of an address.
    pub(in crate::client) endpoint: Box<dyn Fn(SocketAddr) -> Arc<Endpoint> + Send + Sync>,
    pub(in crate::client) interval: Duration,
    pub(in crate::client) shared: Arc<EndpointSettings>,
}

/// The task that resolves the host. Dropping it ends the task.
#[derive(Debug)]
pub(in crate::client) struct Resolver(AbortHandle);

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Resolver {
    /// Starts the resolution. The returned set is empty until the first resolution has ended.
    pub(in crate::client) fn start(
        settings: Settings,
        runtime: &Handle,
    ) -> (Self, watch::Receiver<EndpointSet>) {
        let (publish, set) = watch::channel(EndpointSet::of(Vec::new()));
        let task = runtime.spawn(resolve(settings, publish));
        (Self(task.abort_handle()), set)
    }
}

async fn resolve(settings: Settings, publish: watch::Sender<EndpointSet>) {
    let clock = settings.shared.clock.clone();
    let mut known: HashMap<SocketAddr, Arc<Endpoint>> = HashMap::new();
    loop {
        // The look-up is bounded, because the resolver of the operating system may wait for a long time.
        let addresses = clock.timeout(settings.interval.max(SHORTEST), (settings.lookup)()).await;
        match addresses.map_err(io::Error::other).flatten() {
            Ok(addresses) if !addresses.is_empty() => {
                known = merged(known, addresses, &settings);
                let mut endpoints: Vec<_> = known.iter().collect();
                endpoints.sort_by_key(|(address, _)| **address);
                let endpoints = endpoints.into_iter().map(|(_, endpoint)| endpoint.clone()).collect();
                publish.send_replace(EndpointSet::of(endpoints));
            }
            // The old endpoints stay in use.
            Ok(_) => keep(&publish, "the host has no address"),
            Err(error) => keep(&publish, &format!("the host cannot be resolved: {error}")),
        }
        let is_first = known.is_empty();
        wait(&settings, &clock, is_first).await;
    }
}

/// Returns the endpoints of `addresses`. An endpoint that stays keeps its connection and its calls.
fn merged(
    mut known: HashMap<SocketAddr, Arc<Endpoint>>,
    addresses: Vec<SocketAddr>,
    settings: &Settings,
) -> HashMap<SocketAddr, Arc<Endpoint>> {
    let mut merged = HashMap::new();
    for address in addresses {
        if merged.len() == MAX_ADDRESSES {
            tracing::warn!(peer = %settings.shared.peer, "the host has too many addresses: {MAX_ADDRESSES} are used");
            break;
        }
        let endpoint = known.remove(&address);
        merged.entry(address).or_insert_with(|| endpoint.unwrap_or_else(|| (settings.endpoint)(address)));
    }
    merged
}

fn keep(publish: &watch::Sender<EndpointSet>, problem: &str) {
    tracing::warn!(problem, "the endpoints of a channel are unchanged");
    publish.send_modify(|set| set.problem = Some(problem.into()));
}

/// Waits for the next resolution: for the interval, or until a connection fails. The first resolution is repeated soon,
/// because no call can be made before it.
async fn wait(settings: &Settings, clock: &Clock, is_first: bool) {
    let shortest = SHORTEST.min(settings.interval);
    clock.sleep(shortest).await;
    if is_first {
        return;
    }
    let rest = clock.sleep(settings.interval.saturating_sub(shortest));
    tokio::select! {
        () = rest => {}
        () = settings.shared.trouble.notified() => {}
    }
}
