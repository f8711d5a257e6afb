//! Access links: what is sent waits for its turn on the uplink, travels, and waits for the downlink.

use std::collections::{BTreeMap, VecDeque};

use cardume_swarm::Outgoing;
use cardume_wire::PeerId;

/// One message under way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: PeerId,
    pub(crate) to: PeerId,
    /// Which link between the two; messages of an earlier one are lost.
    pub(crate) link: u64,
    pub(crate) message: Outgoing,
    /// With headers.
    pub(crate) len: usize,
}

/// An uplink that serves its links in turn, and within each in order.
#[derive(Debug)]
pub(crate) struct Uplink {
    rate: u64,
    queues: BTreeMap<PeerId, VecDeque<Packet>>,
    waiting: BTreeMap<PeerId, usize>,
    last: PeerId,
    is_busy: bool,
}

impl Uplink {
    /// Bits per second.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, queues: BTreeMap::new(), waiting: BTreeMap::new(), last: PeerId::SERVER, is_busy: false }
    }

    /// Lines a message up; true when the uplink has to be started.
    pub(crate) fn push(&mut self, packet: Packet) -> bool {
        *self.waiting.entry(packet.to).or_default() += packet.len;
        self.queues.entry(packet.to).or_default().push_back(packet);
        !core::mem::replace(&mut self.is_busy, true)
    }

    /// The next message, and how long it takes; `None` when the uplink comes to rest.
    pub(crate) fn next(&mut self) -> Option<(Packet, u64)> {
        let after = self.queues.range((core::ops::Bound::Excluded(self.last), core::ops::Bound::Unbounded));
        let Some(to) = after.chain(self.queues.iter()).map(|(&to, _)| to).next() else {
            self.is_busy = false;
            return None;
        };
        self.last = to;
        let queue = self.queues.get_mut(&to)?;
        let packet = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&to);
        }
        let time = duration(packet.len, self.rate);
        Some((packet, time))
    }

    /// A message has left.
    pub(crate) fn done(&mut self, to: PeerId, len: usize) -> usize {
        let waiting = self.waiting.entry(to).or_default();
        *waiting = waiting.saturating_sub(len);
        *waiting
    }

    /// The link is gone with all that waits for it.
    pub(crate) fn close(&mut self, to: PeerId) {
        self.queues.remove(&to);
        self.waiting.remove(&to);
    }

    pub(crate) fn backlog(&self, to: PeerId) -> usize {
        self.waiting.get(&to).copied().unwrap_or(0)
    }
}

/// A downlink: one queue in order of arrival.
#[derive(Debug)]
pub(crate) struct Downlink {
    rate: u64,
    free_at: u64,
}

impl Downlink {
    /// Bits per second.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, free_at: 0 }
    }

    /// When a message that gets here now is through.
    pub(crate) fn take(&mut self, len: usize, now: u64) -> u64 {
        self.free_at = self.free_at.max(now) + duration(len, self.rate);
        self.free_at
    }
}

fn duration(len: usize, rate: u64) -> u64 {
    len as u64 * 8_000_000 / rate.max(1)
}
