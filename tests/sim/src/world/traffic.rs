//! Messages and links.

use cardume_swarm::{Input, Offence, Outgoing, PartFacts};
use cardume_wire::link::Message;
use cardume_wire::{BlockId, PeerId};

use super::{CONNECT_FAILED, Event, HEADER_LEN, TRACKER, World, index_of};
use crate::Manners;
use crate::network::Packet;
use crate::store::Verdict;

impl World {
    pub(super) fn send(&mut self, from: PeerId, to: PeerId, message: Outgoing) {
        let Some(&link) = self.nodes[index_of(from)].links.get(&to) else {
            return;
        };
        let len = self.message_len(from, &message) + HEADER_LEN;
        if from.is_server() {
            self.account_server(len);
        }
        let packet = Packet { from, to, link, message, len };
        if self.nodes[index_of(from)].uplink.push(packet) {
            self.start_uplink(from);
        }
    }

    pub(super) fn start_uplink(&mut self, id: PeerId) {
        let now = self.now;
        if let Some((packet, time)) = self.nodes[index_of(id)].uplink.next() {
            self.schedule(now + time, Event::UplinkDone(Box::new(packet)));
        }
    }

    pub(super) fn uplink_done(&mut self, packet: Packet) {
        let from = packet.from;
        if !self.nodes[index_of(from)].is_alive {
            return;
        }
        self.nodes[index_of(from)].uplink.done(packet.to, packet.len);
        let arrives_at = self.now + self.rtt(from, packet.to) / 2;
        self.schedule(arrives_at, Event::AtDownlink(Box::new(packet)));
        self.start_uplink(from);
    }

    pub(super) fn at_downlink(&mut self, packet: Box<Packet>) {
        let through_at = self.nodes[index_of(packet.to)].downlink.take(packet.len, self.now);
        self.schedule(through_at, Event::Arrive(packet));
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, link, message, len } = packet;
        let node = &self.nodes[index_of(to)];
        if !node.is_alive || node.links.get(&from) != Some(&link) {
            return;
        }
        match message {
            Outgoing::Control(control) => self.input(to, Input::Control { from, control }),
            Outgoing::Catalog => self.catalog_arrived(to),
            Outgoing::Descriptor(id) => {
                let part = self.parts.get(&(id.epoch.0, id.track.0, id.sequence)).copied();
                if let Some(part) = part {
                    self.descriptor_arrived(from, to, part);
                }
            }
            Outgoing::Block(block) => self.block_arrived(from, to, block, len - HEADER_LEN),
        }
    }

    pub(super) fn catalog_arrived(&mut self, to: PeerId) {
        let now = self.now;
        let Some(catalog) = self.catalog.clone() else { return };
        let node = &mut self.nodes[index_of(to)];
        if node.store.epoch >= Some(catalog.epoch) {
            return;
        }
        node.store.begin(catalog.epoch);
        node.player.attach(catalog.tracks.len(), now);
        node.delivered.clear();
        self.input(to, Input::Catalog(catalog));
    }

    pub(super) fn descriptor_arrived(&mut self, from: PeerId, to: PeerId, part: PartFacts) {
        if !self.nodes[index_of(to)].store.insert_part(&part) {
            return;
        }
        self.input(to, Input::Descriptor { from: Some(from), part });
        for (from, block) in self.nodes[index_of(to)].store.take_waiting(&part) {
            self.block_arrived(from, to, block, part.message_len(block.number));
        }
    }

    pub(super) fn block_arrived(&mut self, from: PeerId, to: PeerId, block: BlockId, len: usize) {
        if self.nodes[index_of(from)].manners == Manners::Polluter {
            self.input(to, Input::Offence { from, kind: Offence::WrongBlock });
            return;
        }
        let input = match self.nodes[index_of(to)].store.insert_block(from, block) {
            Verdict::Verified => Input::Block { from: Some(from), block },
            Verdict::Useless => Input::BlockUseless { from, block, len },
            Verdict::Unverifiable => Input::BlockUnverifiable { from, block },
        };
        self.input(to, input);
    }

    pub(super) fn connect(&mut self, from: PeerId, to: PeerId) {
        let is_there = self.nodes.get(index_of(to)).is_some_and(|node| node.is_alive);
        if !is_there || !self.is_connectable(from, to) || !self.nodes[0].is_alive {
            let wait = if is_there { CONNECT_FAILED } else { TRACKER * 3 };
            self.schedule(self.now + wait, Event::ConnectFailed(from, to));
            return;
        }
        // Offer and answer over the tracker, checks, DTLS, SCTP.
        let time =
            self.rtt(from, PeerId::SERVER) + self.rtt(to, PeerId::SERVER) + 3 * self.rtt(from, to) + TRACKER;
        self.schedule(self.now + time, Event::OpenLink(from, to));
    }

    pub(super) fn open_link(&mut self, a: PeerId, b: PeerId) {
        let are_alive = self.nodes[index_of(a)].is_alive && self.nodes[index_of(b)].is_alive;
        if !are_alive || self.nodes[index_of(a)].links.contains_key(&b) {
            return;
        }
        self.n_links += 1;
        for (at, peer) in [(a, b), (b, a)] {
            self.nodes[index_of(at)].links.insert(peer, self.n_links);
        }
        for (at, peer) in [(a, b), (b, a)] {
            self.input(at, Input::LinkOpened { peer });
        }
    }

    /// Closes a link; the other end learns it when what was sent before has come.
    pub(super) fn close_link(&mut self, id: PeerId, peer: PeerId) {
        let now = self.now;
        let backlog = self.nodes[index_of(id)].uplink.backlog(peer);
        let Some(link) = self.nodes[index_of(id)].links.remove(&peer) else { return };
        let rate_limited = backlog as u64 * 8_000_000 / 1_000_000;
        let at = now + self.rtt(id, peer) / 2 + rate_limited + 1_000;
        self.schedule(at, Event::LinkClosed { at: peer, peer: id, link });
    }

    pub(super) fn link_closed(&mut self, at: PeerId, peer: PeerId, link: u64) {
        let node = &mut self.nodes[index_of(at)];
        if !node.is_alive || node.links.get(&peer) != Some(&link) {
            return;
        }
        node.links.remove(&peer);
        node.uplink.close(peer);
        self.input(at, Input::LinkClosed { peer });
    }

    pub(super) fn tell_backlogs(&mut self, id: PeerId) {
        let node = &self.nodes[index_of(id)];
        let backlogs: Vec<(PeerId, usize)> = node
            .links
            .keys()
            .map(|&peer| (peer, node.uplink.backlog(peer)))
            .filter(|(peer, len)| node.told_backlogs.get(peer).copied().unwrap_or(0) != *len)
            .collect();
        for (peer, len) in backlogs {
            self.nodes[index_of(id)].told_backlogs.insert(peer, len);
            self.input(id, Input::Backlog { peer, len });
        }
    }

    pub(super) fn account_server(&mut self, len: usize) {
        let now = self.now;
        self.server_len += len as u64;
        self.server_sent.push_back((now, len));
        self.server_second += len;
        while self.server_sent.front().is_some_and(|(at, _)| at + 1_000_000 <= now) {
            self.server_second -= self.server_sent.pop_front().map_or(0, |(_, len)| len);
        }
        self.busiest_second = self.busiest_second.max(self.server_second);
        let second = self.server_second as u64 * 8;
        if self.scenario.budget().is_some_and(|budget| second > budget) {
            self.violate(&format!("the server sends {second} bits in a second"));
        }
    }

    pub(super) fn message_len(&mut self, from: PeerId, message: &Outgoing) -> usize {
        let store = &self.nodes[index_of(from)].store;
        match message {
            Outgoing::Catalog => self.catalog.as_ref().map_or(0, |catalog| catalog.len),
            Outgoing::Control(control) => Message::Control(control.clone()).encode().len(),
            Outgoing::Descriptor(id) => store.part(*id).map_or(0, |part| part.descriptor_len),
            Outgoing::Block(block) => {
                let len = store.part_of(*block).map_or(0, |part| part.message_len(block.number));
                if !store.holds(*block) {
                    self.violate(&format!("{from} sends {block:?}, which it does not hold"));
                }
                len
            }
        }
    }
}
