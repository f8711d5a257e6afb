//! How far apart two participants are, and whether they can connect: the same for the whole run.

use cardume_wire::PeerId;

use super::World;
use crate::Population;

impl World {
    pub(super) fn population(&self) -> Population<'_> {
        Population::new(&self.scenario, self.seed)
    }

    /// Round trip between two, the same for the whole run.
    pub(super) fn rtt(&self, a: PeerId, b: PeerId) -> u64 {
        self.population().round_trip(a, b)
    }

    /// Share of the bytes between viewers that crossed the border of a network.
    pub(crate) fn across_borders(&self) -> Option<f64> {
        None
    }

    pub(super) fn is_connectable(&self, a: PeerId, b: PeerId) -> bool {
        self.population().is_connectable(a, b)
    }
}
