//! Resolves the host of a channel again and again, and replaces the set of endpoints.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use comms_core::clock::Clock;
use futures::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

use super::EndpointSet;
use crate::client::{
    endpoint::{Endpoint, Settings as EndpointSettings},
    task::Task,
};

/// The shortest time between two resolutions.
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest wait for the answer to one look-up: the resolver of the operating system may wait for a long time.
const LONGEST_LOOKUP: Duration = Duration::from_secs(10);
/// The maximum number of look-ups that run at the same time. A look-up of the operating system occupies a thread, and
/// cannot be cancelled.
const MAX_LOOKUPS: usize = 4;
/// The maximum number of addresses that are used.
const MAX_ADDRESSES: usize = 256;

/// Returns the addresses of the host.
pub(in crate::client) type Lookup =
    Box<dyn Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Returns the look-up of `host` by the operating system.
pub(in crate::client) fn system_lookup(host: String, port: u16) -> Lookup {
    let threads = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Box::new(move || {
        let (host, threads) = (host.clone(), threads.clone());
        Box::pin(async move {
            let Ok(thread) = threads.try_acquire_owned() else {
                return Err(io::Error::other(format!("{MAX_LOOKUPS} look-ups have no answer")));
            };
            let lookup = move || {
                let _thread = thread;
                (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
            };
            spawn_blocking(lookup).await.map_err(io::Error::other).flatten()
        })
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

/// Starts the resolution, which ends with the returned task. The returned set is empty until the first resolution has ended.
pub(in crate::client) fn start(settings: Settings, runtime: &Handle) -> (Task, watch::Receiver<EndpointSet>) {
    let (publish, set) = watch::channel(EndpointSet::of(Vec::new()));
    (Task::spawn(runtime, resolve(settings, publish)), set)
}

async fn resolve(settings: Settings, publish: watch::Sender<EndpointSet>) {
    let clock = settings.shared.clock.clone();
    let mut known: HashMap<SocketAddr, Arc<Endpoint>> = HashMap::new();
    loop {
        match clock.timeout(LONGEST_LOOKUP, (settings.lookup)()).await.map_err(io::Error::other).flatten() {
            Ok(addresses) if !addresses.is_empty() => {
                known = merged(known, addresses, &settings);
                let mut endpoints: Vec<_> = known.iter().collect();
                endpoints.sort_by_key(|(address, _)| **address);
                replace(&publish, endpoints.into_iter().map(|(_, endpoint)| endpoint.clone()).collect());
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

/// Publishes `endpoints` if they are others than before. The calls that wait for an endpoint then choose again.
fn replace(publish: &watch::Sender<EndpointSet>, endpoints: Vec<Arc<Endpoint>>) {
    publish.send_if_modified(|set| {
        set.problem = None;
        let same = set.endpoints.len() == endpoints.len()
            && set.endpoints.iter().zip(&endpoints).all(|(old, new)| Arc::ptr_eq(old, new));
        if !same {
            *set = EndpointSet::of(endpoints);
        }
        !same
    });
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
