//! Bounds of the number of connections, in all and by address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of a listener.
pub(super) struct Room {
    places: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

struct Addresses {
    limit: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
    gauge: Gauge,
}

/// The place of one connection; dropping it makes room for another.
pub(super) struct Slot {
    address: IpAddr,
    addresses: Arc<Addresses>,
    _place: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(connections: usize, per_address: usize, gauge: Gauge) -> Self {
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Addresses { limit: per_address, open: Mutex::default(), gauge };
        Self { places, addresses: Arc::new(addresses) }
    }

    /// Waits until there is a place. `None` cannot occur: the semaphore is never closed.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// The slot of a connection of `address`, or `None` if the address has as many as it may.
    pub(super) fn slot(&self, place: OwnedSemaphorePermit, address: IpAddr) -> Option<Slot> {
        let address = network(address);
        let mut open = self.addresses.lock();
        let count = open.entry(address).or_default();
        if *count >= self.addresses.limit {
            return None;
        }
        *count += 1;
        drop(open);
        self.addresses.gauge.increment(1.0);
        Some(Slot { address, addresses: self.addresses.clone(), _place: place })
    }
}

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
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

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, the smallest that one subscriber gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_its_share_and_gives_it_back() {
        let room = Room::new(4, 2, Gauge::noop());
        let slot = async |address: &str| room.slot(room.place().await.unwrap(), address.parse().unwrap());
        let first = slot("192.0.2.1").await.unwrap();
        let _mapped = slot("::ffff:192.0.2.1").await.unwrap();
        assert!(slot("192.0.2.1").await.is_none());
        let _other = slot("2001:db8::1").await.unwrap();
        let _neighbour = slot("2001:db8::2").await.unwrap();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), room.place()).await.is_err());
        drop(first);
        assert!(slot("2001:db8::3").await.is_none(), "the same network");
        let _again = slot("192.0.2.1").await.unwrap();
        assert_eq!(room.addresses.lock().len(), 2);
    }
}
