//! Messages and links.

use cardume_swarm::{Input, Offence, Outgoing, PartFacts, Route};
use cardume_wire::link::Control;
use cardume_wire::{BlockId, PeerId};

use super::{
    CLOSING, CONNECT_FAILED, CONNECT_ROUND_TRIPS, Event, HEADER_LEN, INSTANT, TRACKER, UDP_AWAITED, World,
    index_of,
};
use crate::Manners;
use crate::broadcast::{captured_end, micros};
use crate::library::TRACK_COUNT;
use crate::network::{Link, Offered, Packet};
use crate::store::Verdict;

/// To so many of those who were introduced to it last the tracker tells that a viewer is blamed; as in the tracker.
const CONTACT_LIMIT: usize = 64;

/// Bytes of an offer or an answer for a data channel, with its candidates. Wild guess.
const SDP_LEN: usize = 1_500;
const OFFER: &str = "offer";
const ANSWER: &str = "answer";

impl World {
    pub(super) fn send(&mut self, from: PeerId, to: PeerId, message: Outgoing) {
        let Some(link) = self.nodes[index_of(from)].uplink.link(to).map(|link| link.number) else {
            self.violate(&format!("{from} sends to {to} without a link"));
            return;
        };
        let len = self.message_len(from, &message) + HEADER_LEN;
        self.measures.sent.add(&message, len);
        if from.is_server() {
            let has_started = self.nodes[index_of(to)].player.started_at().is_some();
            self.measures.server_sends(to, has_started, &message, len);
            self.account_server(len);
        }
        let packet = Box::new(Packet { from, to, link, message, len });
        match self.nodes[index_of(from)].uplink.offer(packet, self.now) {
            Offered::Sent(packet, done_at) => self.travel(packet, done_at),
            Offered::WakeAt(at) => self.schedule(at, Event::Uplink(from)),
            Offered::Waits => {}
        }
    }

    pub(super) fn uplink_free(&mut self, id: PeerId) {
        if !self.nodes[index_of(id)].is_alive {
            return;
        }
        while let Some((packet, done_at)) = self.nodes[index_of(id)].uplink.wake(self.now) {
            self.travel(packet, done_at);
        }
        if let Some(at) = self.nodes[index_of(id)].uplink.wakes_at() {
            self.schedule(at, Event::Uplink(id));
        }
    }

    /// A message leaves its uplink then.
    fn travel(&mut self, packet: Box<Packet>, done_at: u64) {
        let round_trip = self.rtt(packet.from, packet.to);
        let mut arrives_at = done_at + round_trip / 2;
        if self.scenario.network.loss_percent > 0.0 {
            let link = self.nodes[index_of(packet.from)].uplink.link(packet.to);
            let is_last = link.is_none_or(Link::is_empty);
            arrives_at += self.loss_delay(packet.len, round_trip, is_last);
            // The link keeps its order: what comes after waits.
            if let Some(link) = self.nodes[index_of(packet.from)].uplink.link_mut(packet.to) {
                arrives_at = arrives_at.max(link.arrives_at);
                link.arrives_at = arrives_at;
            }
        }
        if self.is_relayed(packet.from, packet.to) {
            let rest = self.rtt(packet.to, PeerId::SERVER) / 2;
            self.schedule(arrives_at - rest, Event::AtRelay(packet));
        } else {
            self.schedule(arrives_at, Event::AtDownlink(packet));
        }
    }

    pub(super) fn at_downlink(&mut self, packet: Box<Packet>) {
        self.leave_relay(&packet);
        let through_at = self.nodes[index_of(packet.to)].downlink.take(packet.len, self.now);
        if through_at - self.now < INSTANT {
            self.dispatch(Event::Arrive(packet));
        } else {
            self.schedule(through_at, Event::Arrive(packet));
        }
    }

    pub(super) fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, link, message, len } = packet;
        let node = &self.nodes[index_of(to)];
        if !node.is_alive || node.uplink.link(from).is_none_or(|standing| standing.number != link) {
            return;
        }
        self.note_border(from, to, len);
        match message {
            Outgoing::Control(control) => self.control_arrived(from, to, control),
            Outgoing::Catalog => self.catalog_arrived(to),
            Outgoing::Descriptor(id) => {
                let part = self.library.part(id).map(|published| published.facts);
                if let Some(part) = part {
                    self.descriptor_arrived(from, to, part);
                }
            }
            Outgoing::Index(page) => self.index_arrived(Some(from), to, page),
            Outgoing::Block(block) => self.block_arrived(from, to, block, len - HEADER_LEN),
        }
    }

    fn control_arrived(&mut self, from: PeerId, to: PeerId, control: Control) {
        if let Control::Request { blocks, .. } = &control
            && to.is_server()
        {
            self.measures.requested(from, blocks);
        }
        self.input(to, Input::Control { from, control });
    }

    fn catalog_arrived(&mut self, to: PeerId) {
        let now = self.now;
        let Some(catalog) = self.catalog.clone() else { return };
        let node = &mut self.nodes[index_of(to)];
        if node.store.epoch >= Some(catalog.epoch) {
            return;
        }
        node.store.begin(catalog.epoch);
        let n_kinds = catalog.tracks.iter().filter(|track| track.is_video).count().min(1)
            + catalog.tracks.iter().filter(|track| !track.is_video).count().min(1);
        node.player.attach(n_kinds, now);
        node.delivered = [None; TRACK_COUNT];
        node.shown.begin();
        self.watch_film(to);
        self.input(to, Input::Catalog(catalog));
    }

    fn descriptor_arrived(&mut self, from: PeerId, to: PeerId, part: PartFacts) {
        if !self.nodes[index_of(to)].store.insert_part(&part) {
            return;
        }
        self.input(to, Input::Descriptor { from: Some(from), part });
        for (from, block) in self.nodes[index_of(to)].store.take_waiting(&part) {
            self.block_arrived(from, to, block, part.message_len(block.number));
        }
    }

    fn block_arrived(&mut self, from: PeerId, to: PeerId, block: BlockId, len: usize) {
        if self.nodes[index_of(from)].manners == Manners::Polluter {
            self.measures.n_wrong_blocks += 1;
            self.nodes[index_of(from)].harmed.insert(to);
            self.input(to, Input::Offence { from, kind: Offence::WrongBlock });
            return;
        }
        let published = self.library.part_of(block).copied();
        let part = published.as_ref().map(|published| &published.facts);
        let deadline =
            part.map_or(0, |part| captured_end(part) + micros(self.scenario.stream.target_latency));
        let store = &mut self.nodes[index_of(to)].store;
        let input = match store.insert_block(from, block, part, self.now <= deadline) {
            Verdict::Verified => Input::Block { from: Some(from), block },
            Verdict::Useless => Input::BlockUseless { from, block, len },
            Verdict::Unverifiable => Input::BlockUnverifiable { from, block },
        };
        let is_live = self.scenario.film.is_none();
        if let (true, Input::Block { .. }, Some(published)) = (is_live, &input, published) {
            self.note_block(from, to, block, &published);
        }
        self.input(to, input);
    }

    pub(super) fn connect(&mut self, from: PeerId, to: PeerId) {
        if !self.has_tracker(from) && self.nodes[index_of(from)].peer.is_introduced(to) {
            return self.introduce(from, to, OFFER);
        }
        let is_there = self.nodes.get(index_of(to)).is_some_and(|node| node.is_alive);
        // The tracker passes on nothing of an evicted one, neither its offer nor its answer.
        let have_tracker = self.has_tracker(from) && self.has_tracker(to);
        let is_introduced = have_tracker && !self.is_shunned(from) && !self.is_shunned(to);
        if !is_there || !self.can_link(from, to) || !is_introduced {
            let wait = if is_there { CONNECT_FAILED } else { TRACKER * 3 };
            self.schedule(self.now + wait, Event::ConnectFailed(from, to));
            return;
        }
        for (of, contact) in [(from, to), (to, from)] {
            let contacts = &mut self.nodes[index_of(of)].contacts;
            contacts.retain(|peer| *peer != contact);
            contacts.push_back(contact);
            if contacts.len() > CONTACT_LIMIT {
                contacts.pop_front();
            }
        }
        // Offer and answer over the tracker, then the two alone.
        let time = self.rtt(from, PeerId::SERVER)
            + self.rtt(to, PeerId::SERVER)
            + CONNECT_ROUND_TRIPS * self.rtt(from, to)
            + TRACKER;
        let is_blocked = [from, to].iter().any(|end| self.population().is_blocked(*end));
        let wait = if is_blocked { UDP_AWAITED } else { 0 };
        self.schedule(self.now + time + wait, Event::OpenLink(from, to));
    }

    /// Says so much by way of a neighbour of both as an offer or an answer says.
    fn introduce(&mut self, from: PeerId, to: PeerId, what: &str) {
        self.input(from, Input::Forward { to, text: format!("{what:SDP_LEN$}") });
    }

    /// An offer or an answer came by way of a neighbour of both.
    pub(super) fn introduced(&mut self, at: PeerId, from: PeerId, text: &str) {
        if !text.starts_with(OFFER) {
            let open_at = self.now + CONNECT_ROUND_TRIPS * self.rtt(at, from);
            self.schedule(open_at, Event::OpenLink(at, from));
        } else if self.can_link(at, from) {
            self.introduce(at, from, ANSWER);
        }
    }

    pub(super) fn open_link(&mut self, a: PeerId, b: PeerId) {
        let are_alive = self.nodes[index_of(a)].is_alive && self.nodes[index_of(b)].is_alive;
        if !are_alive || self.nodes[index_of(a)].uplink.link(b).is_some() {
            return;
        }
        // One end may still hold an older link, whose end it has not noticed.
        if self.nodes[index_of(b)].uplink.close(a).is_some() {
            self.input(b, Input::LinkClosed { peer: a });
        }
        self.stand_link(a, b);
        for (at, peer) in [(a, b), (b, a)] {
            self.input(at, Input::LinkOpened { peer });
            let route = if self.is_relayed(at, peer) { Route::Relayed } else { Route::Direct };
            self.input(at, Input::Route { peer, route });
        }
    }

    fn can_link(&self, a: PeerId, b: PeerId) -> bool {
        self.is_connectable(a, b) || self.is_relayed(a, b)
    }

    pub(super) fn stand_link(&mut self, a: PeerId, b: PeerId) {
        self.n_links += 1;
        for (at, peer) in [(a, b), (b, a)] {
            self.nodes[index_of(at)].uplink.open(peer, self.n_links);
        }
    }

    /// Closes a link, with all that waits for it; the other end learns it when what was sent before has come.
    pub(super) fn close_link(&mut self, id: PeerId, peer: PeerId) {
        let now = self.now;
        let uplink = &mut self.nodes[index_of(id)].uplink;
        let busy_for = uplink.busy_for(now);
        let Some(link) = uplink.close(peer) else { return };
        let at = (now + busy_for + self.rtt(id, peer) / 2).max(link.arrives_at) + CLOSING;
        self.schedule(at, Event::LinkClosed { at: peer, peer: id, link: link.number });
    }

    pub(super) fn link_closed(&mut self, at: PeerId, peer: PeerId, link: u64) {
        let node = &mut self.nodes[index_of(at)];
        if !node.is_alive || node.uplink.link(peer).is_none_or(|standing| standing.number != link) {
            return;
        }
        node.uplink.close(peer);
        self.input(at, Input::LinkClosed { peer });
    }

    pub(super) fn tell_backlogs(&mut self, id: PeerId) {
        let uplink = &self.nodes[index_of(id)].uplink;
        let backlogs = uplink
            .links()
            .map(|(peer, link)| (peer, uplink.backlog(peer, link, self.now), link.told_backlog));
        let changed: Vec<(PeerId, usize)> =
            backlogs.filter(|(_, len, told)| len != told).map(|(peer, len, _)| (peer, len)).collect();
        for (peer, len) in changed {
            // An answer to the one before may have closed the link.
            let Some(link) = self.nodes[index_of(id)].uplink.link_mut(peer) else { continue };
            link.told_backlog = len;
            self.input(id, Input::Backlog { peer, len });
        }
    }

    pub(super) fn account_server(&mut self, len: usize) {
        let now = self.now;
        self.server_len += len as u64;
        self.measures.second(now).server_len += len as u64;
        self.server_sent.push_back((now, len));
        self.server_second += len;
        while self.server_sent.front().is_some_and(|(at, _)| at + 1_000_000 <= now) {
            self.server_second -= self.server_sent.pop_front().map_or(0, |(_, len)| len);
        }
        self.busiest_second = self.busiest_second.max(self.server_second);
        let second = self.server_second as u64 * 8;
        // The gate that holds both to the budget together, and loses what is too much, is not modelled.
        let is_alone = !self.scenario.network.has_relay;
        if is_alone && self.scenario.budget().is_some_and(|budget| second > budget) {
            self.violate(&format!("the server sends {second} bits in a second"));
        }
    }

    fn message_len(&mut self, from: PeerId, message: &Outgoing) -> usize {
        match message {
            Outgoing::Catalog => self.catalog.as_ref().map_or(0, |catalog| catalog.len),
            Outgoing::Control(control) => control_len(control),
            Outgoing::Index(page) => self.index_len(*page),
            Outgoing::Descriptor(id) => {
                let part = self.library.part(*id).map(|published| &published.facts);
                let store = &self.nodes[index_of(from)].store;
                part.filter(|part| store.knows(part)).map_or(0, |part| part.descriptor_len)
            }
            Outgoing::Block(block) => {
                let part = self.library.part_of(*block).map(|published| published.facts);
                let store = &self.nodes[index_of(from)].store;
                if !part.as_ref().is_some_and(|part| store.holds(part, block.number)) {
                    self.violate(&format!("{from} sends {block:?}, which it does not hold"));
                }
                part.map_or(0, |part| part.message_len(block.number))
            }
        }
    }
}

/// Bytes of a control message: those of its CBOR and the type before it.
fn control_len(control: &Control) -> usize {
    let mut len = Length(1);
    // Counting cannot fail, and control messages always encode.
    let _ = minicbor::encode(control, &mut len);
    len.0
}

/// Counts what would be written.
struct Length(usize);

impl minicbor::encode::Write for Length {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cardume_wire::link::Message;

    use super::*;

    #[test]
    fn a_control_message_is_as_long_as_its_bytes() {
        let control = Control::Ping { sent_at: 1_234_567 };
        assert_eq!(control_len(&control), Message::Control(control).encode().len());
    }
}
