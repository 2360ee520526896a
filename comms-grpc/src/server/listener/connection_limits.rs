//! Limits on the number of connections, in total and by address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connection limits of a listener.
pub(super) struct ConnectionLimits {
    total: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

struct Addresses {
    limit: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
    gauge: Gauge,
}

/// The permit of one open connection. Dropping it releases the connection's share of both limits.
pub(super) struct ConnectionPermit {
    address: IpAddr,
    addresses: Arc<Addresses>,
    _total: OwnedSemaphorePermit,
}

impl ConnectionLimits {
    pub(super) fn new(connections: usize, per_address: usize, gauge: Gauge) -> Self {
        let total = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Addresses { limit: per_address, open: Mutex::default(), gauge };
        Self { total, addresses: Arc::new(addresses) }
    }

    /// Waits until the total limit allows another connection. `None` cannot occur: the semaphore is never closed.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.total.clone().acquire_owned().await.ok()
    }

    /// Returns the permit of a connection from `address`, or `None` if the address has reached its limit.
    pub(super) fn admit(&self, total: OwnedSemaphorePermit, address: IpAddr) -> Option<ConnectionPermit> {
        let address = network(address);
        let mut open = self.addresses.lock();
        let count = open.entry(address).or_default();
        if *count >= self.addresses.limit {
            return None;
        }
        *count += 1;
        drop(open);
        self.addresses.gauge.increment(1.0);
        Some(ConnectionPermit { address, addresses: self.addresses.clone(), _total: total })
    }
}

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.addresses.gauge.decrement(1.0);
        let mut open = self.addresses.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Returns the address under which a connection is counted: the IPv4 address, or the IPv6 network of 64 bits, which is
/// the smallest network that one subscriber gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test waits for tokio's time")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_limited_and_a_dropped_permit_is_released() {
        let limits = ConnectionLimits::new(4, 2, Gauge::noop());
        let admit =
            async |address: &str| limits.admit(limits.acquire().await.unwrap(), address.parse().unwrap());
        let first = admit("192.0.2.1").await.unwrap();
        let _mapped = admit("::ffff:192.0.2.1").await.unwrap();
        assert!(admit("192.0.2.1").await.is_none());
        let _other = admit("2001:db8::1").await.unwrap();
        let _same_network = admit("2001:db8::2").await.unwrap();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), limits.acquire()).await.is_err());
        drop(first);
        assert!(admit("2001:db8::3").await.is_none(), "the same network");
        let _again = admit("192.0.2.1").await.unwrap();
        assert_eq!(limits.addresses.lock().len(), 2);
    }
}
