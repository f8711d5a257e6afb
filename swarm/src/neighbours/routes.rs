//! Which links the server's relay passes on.

use cardume_wire::PeerId;

use super::{Neighbours, remember};
use crate::{Instant, Route};

/// Relayed links at a time: half of the neighbours that are wanted, as who has no link to the server may live by them. More
/// would be of no use, and each takes a place of the relay's.
const RELAYED_LIMIT: usize = 4;

impl Neighbours {
    /// How a link runs; false when it must be closed: there are enough that are relayed, and this one is not tried again soon.
    pub(crate) fn set_route(&mut self, peer: PeerId, route: Route, now: Instant) -> bool {
        let Some(link) = self.links.get_mut(&peer) else { return true };
        link.route = Some(route);
        let n_relayed = self.links.values().filter(|link| link.is_relayed()).count();
        let is_allowed = route == Route::Direct || n_relayed <= RELAYED_LIMIT;
        if !is_allowed {
            remember(&mut self.failed, peer, now);
        }
        is_allowed
    }

    /// Links to viewers that are not relayed, or not known to be.
    pub(crate) fn n_direct(&self) -> usize {
        self.links.iter().filter(|(peer, link)| !peer.is_server() && !link.is_relayed()).count()
    }
}
