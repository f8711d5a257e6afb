//! How far apart two participants are, and whether they can connect: the same for the whole run.

use cardume_wire::PeerId;

use rand_chacha::rand_core::Rng;

use super::{World, index_of};
use crate::chance::share;
use crate::measure::Measures;
use crate::{Population, RoundTrips};

/// Bytes of a packet: what SCTP over DTLS puts into one in browsers.
const PACKET_LEN: usize = 1_200;
/// A loss is noticed within a round trip when so many packets follow it (RFC 9260, fast retransmit).
const FAST_PACKETS: usize = 4;
/// Otherwise it takes a timer of at least this long, microseconds: the least retransmission timeout of SCTP in Chromium.
const RESEND_MIN: u64 = 400_000;
/// A packet is lost so often in a row at most; beyond, links break rather than wait.
const RESEND_LIMIT: usize = 5;

impl World {
    pub(super) fn population(&self) -> Population<'_> {
        Population::new(&self.scenario, self.seed)
    }

    /// Round trip between two, the same for the whole run.
    pub(super) fn rtt(&self, a: PeerId, b: PeerId) -> u64 {
        if self.is_relayed(a, b) {
            return self.rtt(a, PeerId::SERVER) + self.rtt(b, PeerId::SERVER);
        }
        match (&self.scenario.network.round_trip, self.nodes.get(index_of(a)), self.nodes.get(index_of(b))) {
            (RoundTrips::Map {}, Some(a), Some(b)) => a.home.round_trip(&b.home),
            _ => self.population().round_trip(a, b),
        }
    }

    /// Share of the bytes between viewers that crossed the border of a network.
    pub(crate) fn across_borders(&self) -> Option<f64> {
        let Measures { between_viewers, across_borders, .. } = self.measures;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = across_borders as f64 / between_viewers as f64;
        let has_map = matches!(self.scenario.network.round_trip, RoundTrips::Map {});
        (has_map && between_viewers > 0).then_some(share)
    }

    /// Counts what one viewer got from another.
    pub(super) fn note_border(&mut self, from: PeerId, to: PeerId, len: usize) {
        if from.is_server() || to.is_server() {
            return;
        }
        let [from, to] = [from, to].map(|id| self.nodes[index_of(id)].home.network);
        self.measures.between_viewers += len as u64;
        self.measures.across_borders += if from == to { 0 } else { len as u64 };
    }

    /// How much later a message arrives because packets of it are lost and sent again.
    pub(super) fn loss_delay(&mut self, len: usize, round_trip: u64, is_last: bool) -> u64 {
        let loss = self.scenario.network.loss_percent / 100.0;
        let n_packets = len.div_ceil(PACKET_LEN);
        let mut likelihood = 1.0 - (1.0 - loss).powi(i32::try_from(n_packets).unwrap_or(i32::MAX));
        let is_noticed_late = is_last && n_packets < FAST_PACKETS;
        let mut wait = if is_noticed_late { RESEND_MIN.max(2 * round_trip) } else { round_trip };
        let mut delay = 0;
        for _ in 0..RESEND_LIMIT {
            if share(self.rng.next_u64()) >= likelihood {
                break;
            }
            delay += wait;
            wait = RESEND_MIN.max(2 * wait);
            likelihood = loss;
        }
        delay
    }

    pub(super) fn is_connectable(&self, a: PeerId, b: PeerId) -> bool {
        self.population().is_connectable(a, b)
    }
}
