//! How many sockets one network address may have open, so that one machine cannot take the places of all others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::door::is_nearby;

/// What counts as one: an IPv4 address, or the first half of an IPv6 one, which is what a household gets (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// The one that an address is of.
    pub(crate) fn around(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
        }
    }

    /// `None` for addresses that a proxy in front of the tracker has: loopback, private (RFC 1918, RFC 4193) and
    /// link-local ones. They stand for all the viewers behind it.
    fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            near if is_nearby(near) => None,
            address => Some(Self::around(address)),
        }
    }
}

/// Sockets that are open, by address; a handle that is cheap to clone. Each address in it has one open at least.
#[derive(Debug, Clone)]
pub struct Addresses {
    limit: Arc<AtomicU32>,
    n_open: Arc<Mutex<BTreeMap<Network, u32>>>,
}

/// The right to one open socket; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    addresses: Addresses,
    /// `None` is not counted.
    network: Option<Network>,
}

impl Addresses {
    /// With this many for each address at most.
    pub fn new(limit: u32) -> Self {
        Self { limit: Arc::new(AtomicU32::new(limit)), n_open: Arc::default() }
    }

    /// From now on each address may have so many. Nobody's socket is closed.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A slot for one more socket of this address; `None` when it has as many as it may.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Slot> {
        let network = Network::of(address);
        if let Some(network) = network {
            let mut n_open = self.lock();
            let n = n_open.get(&network).copied().unwrap_or(0);
            if n >= self.limit.load(Ordering::Relaxed) {
                return None;
            }
            n_open.insert(network, n + 1);
        }
        Some(Slot { addresses: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Network, u32>> {
        self.n_open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut n_open = self.addresses.lock();
        if let Some(n) = n_open.get_mut(&network) {
            *n -= 1;
            if *n == 0 {
                n_open.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a slot for each of these in turn; the ones that were given are held.
    fn check(limit: u32, script: &[(&str, bool)]) {
        let addresses = Addresses::new(limit);
        let mut slots = Vec::new();
        for (address, is_given) in script {
            let slot = addresses.take(address.parse().unwrap());
            assert_eq!(slot.is_some(), *is_given, "{address}");
            slots.extend(slot);
        }
        drop(slots);
        assert!(addresses.lock().is_empty(), "all are given back");
    }

    #[test]
    fn an_address_has_as_many_as_it_may_whatever_others_have() {
        check(
            2,
            &[
                ("198.51.100.7", true),
                ("198.51.100.7", true),
                ("198.51.100.7", false),
                ("198.51.100.8", true),
            ],
        );
    }

    #[test]
    fn a_household_of_ipv6_is_one_address() {
        check(1, &[("2001:db8:0:1::5", true), ("2001:db8:0:1:ffff::6", false), ("2001:db8:0:2::5", true)]);
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_either_notation() {
        check(1, &[("::ffff:198.51.100.7", true), ("198.51.100.7", false)]);
    }

    #[test]
    fn proxies_nearby_are_not_limited() {
        for address in ["127.0.0.1", "::1", "10.1.2.3", "172.20.0.2", "192.168.1.1", "fd00::1", "fe80::1"] {
            check(1, &[(address, true), (address, true), (address, true)]);
        }
    }

    #[test]
    fn a_limit_of_none_leaves_nothing_behind() {
        check(0, &[("198.51.100.7", false)]);
    }

    #[test]
    fn a_slot_that_is_given_back_can_be_taken_again() {
        let (addresses, address) = (Addresses::new(1), "198.51.100.7".parse().unwrap());
        for _ in 0..3 {
            let slot = addresses.take(address);
            assert!(slot.is_some() && addresses.take(address).is_none());
        }
    }
}
