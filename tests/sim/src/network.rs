//! Access links: what is sent waits for its turn on the uplink, travels, and waits for the downlink.

use std::collections::VecDeque;

use cardume_swarm::Outgoing;
use cardume_wire::PeerId;

/// An uplink settles the order of what it sends so long ahead, microseconds: small messages then cost no event of their
/// own, and nobody waits longer than this for a turn that was due.
const AHEAD: u64 = 1_000;

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

/// One end of a link that stands.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which link between the two.
    pub(crate) number: u64,
    /// What waits for its turn.
    queue: VecDeque<Box<Packet>>,
    /// Bytes of it.
    waiting: usize,
    /// The backlog that the peer was last told.
    pub(crate) told_backlog: usize,
    /// When the last message gets to the other end: a link keeps its order.
    pub(crate) arrives_at: u64,
    /// Bytes that wait at the relay.
    pub(crate) on_relay: usize,
}

impl Link {
    /// Whether nothing waits for its turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// A node's links and the uplink that serves them in turn, and each in order.
#[derive(Debug)]
pub(crate) struct Uplink {
    rate: u64,
    /// The other ends of its links, by rising id: apart from the links, as this is what every message looks for.
    peers: Vec<PeerId>,
    /// In the same order.
    links: Vec<Link>,
    /// The ends of the links where something waits, in the order of their turns.
    ready: VecDeque<PeerId>,
    /// When what is being sent has left.
    free_at: u64,
    /// What is being sent, while it is.
    in_service: Option<(PeerId, usize)>,
    is_waking: bool,
}

/// What becomes of a message that is to be sent.
#[derive(Debug)]
pub(crate) enum Offered {
    /// It is sent now and has left then.
    Sent(Box<Packet>, u64),
    /// It waits; the uplink has to be woken then.
    WakeAt(u64),
    /// It waits, and the uplink wakes anyway.
    Waits,
}

impl Uplink {
    /// Bits per second.
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            peers: Vec::new(),
            links: Vec::new(),
            ready: VecDeque::new(),
            free_at: 0,
            in_service: None,
            is_waking: false,
        }
    }

    /// Bits per second.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// With their other ends, by rising id of these.
    pub(crate) fn links(&self) -> impl Iterator<Item = (PeerId, &Link)> {
        self.peers.iter().copied().zip(&self.links)
    }

    pub(crate) fn link(&self, peer: PeerId) -> Option<&Link> {
        self.place(peer).ok().map(|index| &self.links[index])
    }

    pub(crate) fn link_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        self.place(peer).ok().map(|index| &mut self.links[index])
    }

    /// A link stands.
    pub(crate) fn open(&mut self, peer: PeerId, number: u64) {
        if let Err(index) = self.place(peer) {
            let queue = VecDeque::new();
            let link = Link { number, queue, waiting: 0, told_backlog: 0, arrives_at: 0, on_relay: 0 };
            self.peers.insert(index, peer);
            self.links.insert(index, link);
        }
    }

    /// The link is gone with all that waits for it.
    pub(crate) fn close(&mut self, peer: PeerId) -> Option<Link> {
        let index = self.place(peer).ok()?;
        self.peers.remove(index);
        let link = self.links.remove(index);
        if link.waiting > 0 {
            self.ready.retain(|ready| *ready != peer);
        }
        Some(link)
    }

    /// Sends a message when it is its turn.
    pub(crate) fn offer(&mut self, packet: Box<Packet>, now: u64) -> Offered {
        if self.free_at < now + AHEAD && self.ready.is_empty() {
            let done_at = self.serve(&packet, now);
            return Offered::Sent(packet, done_at);
        }
        let to = packet.to;
        if let Ok(index) = self.place(to) {
            let link = &mut self.links[index];
            if link.queue.is_empty() {
                self.ready.push_back(to);
            }
            link.waiting += packet.len;
            link.queue.push_back(packet);
        }
        if core::mem::replace(&mut self.is_waking, true) {
            Offered::Waits
        } else {
            Offered::WakeAt(self.free_at.max(now))
        }
    }

    /// Sends what is next and, as long as that is soon, what comes after it; each with the time when it has left. When
    /// something still waits, the last of these is when to wake again.
    pub(crate) fn wake(&mut self, now: u64) -> Option<(Box<Packet>, u64)> {
        self.is_waking = false;
        if self.free_at >= now + AHEAD {
            self.is_waking = !self.ready.is_empty();
            return None;
        }
        let to = self.ready.pop_front()?;
        let index = self.place(to).ok()?;
        let link = &mut self.links[index];
        let packet = link.queue.pop_front()?;
        link.waiting -= packet.len;
        if !link.queue.is_empty() {
            self.ready.push_back(to);
        }
        let done_at = self.serve(&packet, now);
        Some((packet, done_at))
    }

    /// When to wake; `None` when nothing waits.
    pub(crate) fn wakes_at(&self) -> Option<u64> {
        self.is_waking.then_some(self.free_at)
    }

    /// Bytes that have not left yet.
    pub(crate) fn backlog(&self, peer: PeerId, link: &Link, now: u64) -> usize {
        let in_service = self.in_service.filter(|(to, _)| self.free_at > now && *to == peer);
        link.waiting + link.on_relay + in_service.map_or(0, |(_, len)| len)
    }

    /// How long what is being sent still takes.
    pub(crate) fn busy_for(&self, now: u64) -> u64 {
        self.free_at.saturating_sub(now)
    }

    fn serve(&mut self, packet: &Packet, now: u64) -> u64 {
        self.free_at = self.free_at.max(now) + duration(packet.len, self.rate);
        self.in_service = Some((packet.to, packet.len));
        self.free_at
    }

    fn place(&self, peer: PeerId) -> Result<usize, usize> {
        self.peers.binary_search(&peer)
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

    /// Bits per second.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// What comes from now on takes its time at this rate, bits per second.
    pub(crate) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
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

#[cfg(test)]
#[expect(clippy::unnecessary_box_returns, reason = "packets travel in boxes")]
mod tests {
    use cardume_wire::link::Control;

    use super::*;

    fn packet(to: u64, len: usize) -> Box<Packet> {
        let message = Outgoing::Control(Control::Goodbye);
        Box::new(Packet { from: PeerId::SERVER, to: PeerId::new(to), link: 1, message, len })
    }

    #[test]
    fn links_are_served_in_turn_and_each_in_order() {
        let mut uplink = Uplink::new(8_000_000);
        uplink.open(PeerId::new(2), 1);
        uplink.open(PeerId::new(1), 2);
        assert!(matches!(uplink.offer(packet(1, 1_000), 0), Offered::Sent(_, 1_000)));
        assert!(matches!(uplink.offer(packet(1, 2_000), 0), Offered::WakeAt(1_000)));
        for (to, len) in [(1, 3_000), (2, 4_000), (2, 5_000)] {
            assert!(matches!(uplink.offer(packet(to, len), 5), Offered::Waits));
        }
        let one = uplink.link(PeerId::new(1)).unwrap();
        assert_eq!(uplink.backlog(PeerId::new(1), one, 5), 6_000, "what is being sent has not left");
        assert_eq!(uplink.backlog(PeerId::new(1), one, 1_000), 5_000);
        let mut now = 1_000;
        let mut sent = Vec::new();
        while let Some((packet, done_at)) = uplink.wake(now) {
            sent.push(packet.len);
            assert_eq!(done_at, now + packet.len as u64);
            now = done_at;
        }
        assert_eq!(sent, [2_000, 4_000, 3_000, 5_000]);
    }

    #[test]
    fn what_waits_for_a_closed_link_is_lost() {
        let mut uplink = Uplink::new(8_000_000);
        uplink.open(PeerId::new(1), 1);
        uplink.open(PeerId::new(2), 2);
        for (to, len) in [(1, 1_000), (1, 2_000), (2, 3_000)] {
            uplink.offer(packet(to, len), 0);
        }
        uplink.close(PeerId::new(1));
        assert_eq!(uplink.wake(1_000).unwrap().0.len, 3_000);
        assert!(uplink.wake(4_000).is_none());
    }

    #[test]
    fn small_messages_leave_one_after_the_other_without_waking() {
        let mut uplink = Uplink::new(8_000_000);
        uplink.open(PeerId::new(1), 1);
        for n in 1..=10 {
            assert!(matches!(uplink.offer(packet(1, 100), 0), Offered::Sent(_, at) if at == n * 100));
        }
        assert!(matches!(uplink.offer(packet(1, 100), 0), Offered::WakeAt(1_000)));
    }
}
