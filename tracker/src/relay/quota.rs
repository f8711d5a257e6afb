//! How many allocations viewers and network addresses have, and may have.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use crate::http::Network;

/// Counts allocations without looking at all of them, as anybody who watches may ask for one as often as he likes.
#[derive(Debug)]
pub(super) struct Quota {
    viewer_limit: usize,
    address_limit: usize,
    by_viewer: HashMap<String, usize>,
    by_network: HashMap<Network, usize>,
}

impl Quota {
    /// So many at most for each viewer, and for each network address.
    pub(super) fn new(viewer_limit: usize, address_limit: usize) -> Self {
        Self { viewer_limit, address_limit, by_viewer: HashMap::new(), by_network: HashMap::new() }
    }

    /// Whether there is room for one more of this viewer, at this address.
    pub(super) fn has_room(&self, viewer: &str, address: IpAddr) -> bool {
        let of_viewer = self.by_viewer.get(viewer).copied().unwrap_or_default();
        let of_network = self.by_network.get(&Network::around(address)).copied().unwrap_or_default();
        of_viewer < self.viewer_limit && of_network < self.address_limit
    }

    /// Counts one.
    pub(super) fn take(&mut self, viewer: &str, address: IpAddr) {
        *self.by_viewer.entry(viewer.to_owned()).or_default() += 1;
        *self.by_network.entry(Network::around(address)).or_default() += 1;
    }

    /// Counts one less.
    pub(super) fn give_back(&mut self, viewer: &str, address: IpAddr) {
        decrease(&mut self.by_viewer, viewer);
        decrease(&mut self.by_network, &Network::around(address));
    }
}

/// One less of it, and no entry for none.
fn decrease<K: Hash + Eq + std::borrow::Borrow<Q>, Q: Hash + Eq + ?Sized>(
    counts: &mut HashMap<K, usize>,
    key: &Q,
) {
    if let Some(n) = counts.get_mut(key) {
        *n -= 1;
        if *n == 0 {
            counts.remove(key);
        }
    }
}
