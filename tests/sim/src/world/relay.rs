//! The server's relay, for pairs that cannot connect: each byte comes out of the server's budget, as in the tracker, where the
//! relay has as much of it as one channel while it passes more than what it takes to find out whether links stand.

use std::collections::VecDeque;

use cardume_swarm::{BitsPerSec, Input};
use cardume_wire::PeerId;

use super::{Event, SERVER_ACCESS, World, index_of};
use crate::network::{Downlink, Packet};

/// Part of the budget that it may use without having a share; as in the tracker.
const UNSHARED: u64 = 16;
/// It gives its share back when it did not need one for so long, microseconds; as in the tracker.
const SHARE_TIMEOUT: u64 = 15_000_000;

/// What passes on what comes from one viewer to the other, in order of arrival.
#[derive(Debug)]
pub(crate) struct Relay {
    line: Downlink,
    /// When how much passed, within the last second.
    sent: VecDeque<(u64, usize)>,
    second: usize,
    /// Until when it has a share of the budget.
    shares_until: u64,
    /// Bytes that it passed on.
    pub(crate) total_len: u64,
}

impl Relay {
    pub(super) fn new(budget: Option<u64>) -> Self {
        let line = Downlink::new(budget.unwrap_or(SERVER_ACCESS.up));
        Self { line, sent: VecDeque::new(), second: 0, shares_until: 0, total_len: 0 }
    }

    fn note(&mut self, len: usize, now: u64) {
        self.total_len += len as u64;
        self.second += len;
        self.sent.push_back((now, len));
        while self.sent.front().is_some_and(|(at, _)| at + 1_000_000 <= now) {
            self.second -= self.sent.pop_front().map_or(0, |(_, len)| len);
        }
    }
}

impl World {
    /// Whether these two are linked by the relay alone.
    pub(super) fn is_relayed(&self, a: PeerId, b: PeerId) -> bool {
        let are_viewers = !a.is_server() && !b.is_server();
        are_viewers && self.scenario.network.has_relay && !self.is_connectable(a, b)
    }

    /// A message has got to the relay, and leaves it when it is its turn.
    pub(super) fn at_relay(&mut self, packet: Box<Packet>) {
        let now = self.now;
        self.relay.note(packet.len, now);
        self.account_server(packet.len);
        self.share_with_relay();
        let leaves_at = self.relay.line.take(packet.len, now);
        let arrives_at = leaves_at + self.rtt(packet.to, PeerId::SERVER) / 2;
        self.hold_at_relay(&packet, |on_relay| on_relay + packet.len);
        self.schedule(arrives_at, Event::AtDownlink(packet));
    }

    /// It has left, and its sender's data channel knows.
    pub(super) fn leave_relay(&mut self, packet: &Packet) {
        if self.is_relayed(packet.from, packet.to) {
            self.hold_at_relay(packet, |on_relay| on_relay.saturating_sub(packet.len));
        }
    }

    /// The relay and the server's own links have half of the budget each while both need it.
    pub(super) fn share_with_relay(&mut self) {
        let Some(budget) = self.scenario.budget() else { return };
        let now = self.now;
        let has_shared = self.relay.line.rate() < budget;
        let share = if has_shared { budget / 2 } else { budget };
        if self.relay.second as u64 * 8 > share / UNSHARED {
            self.relay.shares_until = now + SHARE_TIMEOUT;
        }
        let shares = self.relay.shares_until > now;
        if shares != has_shared {
            let share = if shares { budget / 2 } else { budget };
            self.relay.line.set_rate(share);
            self.input(PeerId::SERVER, Input::UplinkLimit(Some(BitsPerSec(share))));
        }
    }

    fn hold_at_relay(&mut self, packet: &Packet, change: impl FnOnce(usize) -> usize) {
        let link = self.nodes[index_of(packet.from)].uplink.link_mut(packet.to);
        if let Some(link) = link.filter(|link| link.number == packet.link) {
            link.on_relay = change(link.on_relay);
        }
    }
}
