//! How far apart two participants are, and whether they can connect: the same for the whole run.

use cardume_wire::PeerId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{World, percentile};

impl World {
    /// Round trip between two, the same for the whole run.
    pub(super) fn rtt(&self, a: PeerId, b: PeerId) -> u64 {
        let mut rng = self.pair_rng(a, b, 1);
        percentile(self.scenario.round_trips, rng.next_u64() % 10_000)
    }

    pub(super) fn is_connectable(&self, a: PeerId, b: PeerId) -> bool {
        let mut rng = self.pair_rng(a, b, 2);
        rng.next_u64() % 100 >= self.scenario.unconnectable_percent
    }

    pub(super) fn pair_rng(&self, a: PeerId, b: PeerId, purpose: u64) -> ChaCha8Rng {
        let (low, high) = (a.min(b).number(), a.max(b).number());
        ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(31) ^ (low << 40) ^ (high << 16) ^ purpose)
    }
}
