//! What must hold of the swarm as a whole, looked at each second.

use std::collections::BTreeMap;

use cardume_wire::{PeerId, Stripe};

use super::{World, index_of};

/// Larger swarms are not looked at: it would take longer than the run.
const CHECKED_LIMIT: usize = 1_000;
/// Looks, a second apart, at which a viewer may find itself above itself before that is a violation: paths are told on
/// from neighbour to neighbour, so two that change at once can close a circle for a moment; and who was let go since then names its
/// last provider for the two seconds in which one that is let go is usually still fed.
const CIRCLE_LIMIT: u32 = 4;

impl World {
    /// Nobody is its own ancestor in a stripe for longer than a moment, as long as there is a source.
    pub(super) fn check_circles(&mut self) {
        if self.alive.len() > CHECKED_LIMIT || self.broadcast.is_none() {
            self.circles.clear();
            return;
        }
        let mut circles = BTreeMap::new();
        let providers = self.providers();
        for &(viewer, stripe) in providers.keys() {
            if is_own_ancestor(&providers, viewer, stripe) {
                let n_looks = self.circles.get(&(viewer, stripe)).map_or(1, |n| n + 1);
                circles.insert((viewer, stripe), n_looks);
            }
        }
        let lasting: Vec<_> =
            circles.iter().filter(|(_, n)| **n == CIRCLE_LIMIT).map(|(at, _)| *at).collect();
        self.circles = circles;
        for (viewer, stripe) in lasting {
            self.violate(&format!("{viewer} is its own ancestor in stripe {} since 3 s", stripe.index()));
        }
    }

    fn providers(&self) -> BTreeMap<(PeerId, Stripe), PeerId> {
        let viewers = self.alive.iter().map(|id| &self.nodes[index_of(id)]);
        let paths = viewers.map(|node| (node.id, node.peer.stats(node.instant(self.now)).paths));
        let providers = paths
            .flat_map(|(id, paths)| paths.into_iter().map(move |path| ((id, path.stripe), path.provider)));
        providers.collect()
    }
}

fn is_own_ancestor(providers: &BTreeMap<(PeerId, Stripe), PeerId>, viewer: PeerId, stripe: Stripe) -> bool {
    let mut at = viewer;
    for _ in 0..=providers.len() {
        match providers.get(&(at, stripe)) {
            Some(provider) if *provider == viewer => return true,
            Some(provider) => at = *provider,
            None => return false,
        }
    }
    // A circle further up, which its own members find.
    false
}
