//! Viewers of the same channel at other nodes, as far as they are known, and what passes between them and ours.

use std::collections::BTreeMap;
use std::time::Duration;

use cardume_wire::PeerId;
use cardume_wire::signal::FromTracker;
use rand_chacha::rand_core::Rng;
use tokio::time::Instant;

use super::{Gone, Members, NEIGHBOURS_SUGGESTED, SHUFFLE_LIMIT, Swarm, to_json};
use crate::node::NodeId;
use crate::signal::abroad::{Abroad, Letter, News, Outward, SAMPLE_LIMIT};

/// Peers of other nodes that are remembered; those not heard of for longest are forgotten first. (Wild guess: as many as
/// ours may be met by.)
const REMOTE_LIMIT: usize = 1024;
/// So long a peer of another node is suggested after it was last heard of: some samples may be lost.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// Offers to viewers of other nodes that are remembered, and for how long: so that who made them hears of it when such a node dies.
/// A viewer gives an attempt up in about that time, and offers to few at once.
const OFFER_LIMIT: usize = 4096;
const OFFER_FOR: Duration = Duration::from_secs(10);
/// So long a node's last count of viewers holds.
const COUNT_FOR: Duration = Duration::from_secs(5);
/// Nodes whose counts are kept at most.
const NODE_LIMIT: usize = 256;
/// Of the suggestions, so many are of other nodes where we have few viewers, and where we have many: a quarter, so that small
/// swarms find each other, and one, so that large ones do not part.
const SHARE_OF_SMALL: usize = NEIGHBOURS_SUGGESTED / 4;
const SHARE_OF_LARGE: usize = 1;
/// Members that are drawn for a sample; the strongest of them are in it.
const SAMPLE_DRAWN: usize = 4 * SAMPLE_LIMIT;

/// What is known of other nodes' viewers.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    by_id: BTreeMap<PeerId, Remote>,
    counts: BTreeMap<NodeId, (u32, Instant)>,
    /// What ours offered to others and nobody has answered, by who and whom.
    offers: BTreeMap<(PeerId, PeerId), Remote>,
    /// Whether the others were told of any viewers last.
    was_told: bool,
}

#[derive(Debug)]
struct Remote {
    node: NodeId,
    heard_at: Instant,
}

impl Remotes {
    pub(super) fn node_of(&self, peer: PeerId) -> Option<NodeId> {
        self.by_id.get(&peer).map(|remote| remote.node)
    }

    fn note(&mut self, peer: PeerId, node: NodeId) {
        if peer.is_server() {
            return;
        }
        let is_new = !self.by_id.contains_key(&peer);
        if is_new && self.by_id.len() >= REMOTE_LIMIT {
            let oldest = self.by_id.iter().min_by_key(|(_, remote)| remote.heard_at).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.by_id.remove(&oldest));
        }
        self.by_id.insert(peer, Remote { node, heard_at: Instant::now() });
    }

    /// Remembers an offer of ours to a peer of this node.
    pub(super) fn note_offer(&mut self, node: NodeId, from: PeerId, to: PeerId) {
        if self.offers.len() >= OFFER_LIMIT {
            self.offers.retain(|_, offer| offer.heard_at.elapsed() < OFFER_FOR);
        }
        if self.offers.len() < OFFER_LIMIT {
            self.offers.insert((from, to), Remote { node, heard_at: Instant::now() });
        }
    }

    /// Offers to this node, or to all, as who and whom.
    fn take_offers(&mut self, node: Option<NodeId>) -> Vec<(PeerId, PeerId)> {
        let is_its = |offer: &Remote| node.is_none_or(|node| offer.node == node);
        let taken = self.offers.extract_if(.., |_, offer| is_its(offer));
        let fresh = taken.filter(|(_, offer)| offer.heard_at.elapsed() < OFFER_FOR);
        fresh.map(|(pair, _)| pair).collect()
    }

    fn fresh(&self) -> impl Iterator<Item = PeerId> {
        let fresh = self.by_id.iter().filter(|(_, remote)| remote.heard_at.elapsed() < FRESH_FOR);
        fresh.map(|(peer, _)| *peer)
    }

    fn count(&mut self, node: NodeId, n_viewers: u32) {
        if self.counts.len() < NODE_LIMIT || self.counts.contains_key(&node) {
            self.counts.insert(node, (n_viewers, Instant::now()));
        }
    }

    fn n_viewers(&mut self) -> u32 {
        self.counts.retain(|_, (_, at)| at.elapsed() < COUNT_FOR);
        self.counts.values().fold(0, |sum, (n, _)| sum.saturating_add(*n))
    }
}

impl Swarm {
    /// Takes what another node has for one of our viewers.
    pub(in crate::signal) fn receive(&self, node: NodeId, to: PeerId, letter: Letter) {
        match letter {
            _ if !letter.is_sound() => {}
            Letter::Blame { by } => self.blame(by, to),
            Letter::Tell { message } => self.pass_on(node, to, &message),
        }
    }

    fn pass_on(&self, node: NodeId, to: PeerId, message: &FromTracker) {
        let mut members = self.lock();
        let from = match message {
            FromTracker::Offer { from, .. }
            | FromTracker::Answer { from, .. }
            | FromTracker::Candidate { from, .. } => *from,
            FromTracker::Gone { peer } => {
                members.remotes.by_id.remove(peer);
                members.remotes.offers.remove(&(to, *peer));
                // Whoever asked may have gone as well.
                let _ = members.deliver(to, to_json(message));
                return;
            }
            _ => {
                let _ = members.deliver(to, to_json(message));
                return;
            }
        };
        let is_shunned = members.is_shunned(from) || members.is_shunned(to);
        if is_shunned || members.deliver(to, to_json(message)) == Err(Gone) {
            let letter = Letter::Tell { message: FromTracker::Gone { peer: to } };
            self.write(node, from, letter);
        } else {
            if let FromTracker::Answer { .. } = message {
                members.remotes.offers.remove(&(to, from));
            }
            members.remotes.note(from, node);
        }
    }

    /// Takes what another node tells of its viewers.
    pub(in crate::signal) fn hear(&self, node: NodeId, news: &News) {
        let mut members = self.lock();
        match news {
            News::Sample { n_viewers, peers } => {
                members.remotes.count(node, *n_viewers);
                for &peer in peers.iter().take(SAMPLE_LIMIT) {
                    if !members.by_id.contains_key(&peer) {
                        members.remotes.note(peer, node);
                    }
                }
            }
            News::Resumed { peer } => {
                // It left us, though its socket may not know yet. It lives, so nobody is told that it is lost.
                if let Some(member) = members.by_id.get(peer) {
                    let session = member.session;
                    member.closing.cancel();
                    members.remove(*peer, session);
                }
                members.remotes.note(*peer, node);
            }
            News::Evicted { peer } => {
                members.remotes.by_id.remove(peer);
                members.evict(*peer);
            }
        }
        drop(members);
        self.count();
        self.count_elsewhere();
    }

    /// What the other nodes should know of our viewers; `None` when there are none and they know it.
    pub(in crate::signal) fn sample_for_others(&self) -> Option<News> {
        let mut members = self.lock();
        let n_viewers = u32::try_from(members.order.len()).unwrap_or(u32::MAX);
        let was_told = std::mem::replace(&mut members.remotes.was_told, n_viewers > 0);
        if n_viewers == 0 && !was_told {
            return None;
        }
        let mut drawn = members.sample(SAMPLE_DRAWN, PeerId::SERVER, &[]);
        let sent_len = |peer: &PeerId| members.by_id.get(peer).map_or(0, |member| member.sent_len);
        drawn.sort_by_key(|peer| std::cmp::Reverse(sent_len(peer)));
        drawn.truncate(SAMPLE_LIMIT);
        Some(News::Sample { n_viewers, peers: drawn })
    }

    /// Says how many watch at other nodes; what was said long ago counts no more.
    pub(in crate::signal) fn count_elsewhere(&self) {
        let n_viewers = self.lock().remotes.n_viewers();
        self.channel.set_viewers_elsewhere(n_viewers);
    }

    /// A node is gone. Nobody is told that its viewers are lost, since they live, and come to another; but nobody waits for their
    /// answers.
    pub(in crate::signal) fn forget_node(&self, node: NodeId) {
        self.return_offers(Some(node));
        let mut members = self.lock();
        members.remotes.by_id.retain(|_, remote| remote.node != node);
        members.remotes.counts.remove(&node);
        drop(members);
        self.count_elsewhere();
    }

    /// Tells those of ours who offered something to viewers of this node, or of any, that nobody is there.
    pub(in crate::signal) fn return_offers(&self, node: Option<NodeId>) {
        let mut members = self.lock();
        for (from, to) in members.remotes.take_offers(node) {
            if let Some(member) = members.by_id.get(&from) {
                // Whose outbox is full finds out by itself: nobody is closed for what others did.
                let _ = member.outbox.try_send(to_json(&FromTracker::Gone { peer: to }));
            }
        }
    }

    /// Whether what is sent to other nodes gets there, as far as is known.
    pub(super) fn reaches_others(&self) -> bool {
        self.abroad.as_ref().is_some_and(Abroad::is_open)
    }

    /// Sends a letter to a peer of another node.
    pub(super) fn write(&self, node: NodeId, peer: PeerId, letter: Letter) {
        if let Some(abroad) = &self.abroad {
            let channel = self.channel.id().clone();
            abroad.send(Outward::Letter { node, peer, channel, letter });
        }
    }

    /// Tells all other nodes.
    pub(in crate::signal) fn tell_others(&self, news: News) {
        if let Some(abroad) = &self.abroad {
            abroad.send(Outward::News { channel: self.channel.id().clone(), news });
        }
    }

    /// Tells those whom a member offered or answered, wherever they are.
    pub(super) fn tell_contacts(&self, members: &Members, peer: PeerId, message: &FromTracker) {
        let Some(known) = members.by_id.get(&peer) else { return };
        let json = to_json(message);
        for contact in &known.contacts {
            if let Some(contact) = members.by_id.get(contact) {
                // Whose outbox is full finds out by itself: nobody is closed for what others did.
                let _ = contact.outbox.try_send(json.clone());
            } else if let Some(node) = members.remotes.node_of(*contact) {
                self.write(node, *contact, Letter::Tell { message: message.clone() });
            }
        }
    }
}

impl Members {
    /// Puts some peers of other nodes among these suggestions of our own.
    pub(super) fn mix(&mut self, mut chosen: Vec<PeerId>, of: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let is_fit = |peer: &PeerId| {
            *peer != of
                && !without.contains(peer)
                && !self.by_id.contains_key(peer)
                && !self.evicted.borrow().contains(peer)
        };
        let mut fit: Vec<PeerId> = self.remotes.fresh().filter(is_fit).collect();
        let share = if self.order.len() <= SHUFFLE_LIMIT { SHARE_OF_SMALL } else { SHARE_OF_LARGE };
        let n_remote = share.max(NEIGHBOURS_SUGGESTED.saturating_sub(chosen.len())).min(fit.len());
        chosen.truncate(NEIGHBOURS_SUGGESTED - n_remote);
        for _ in 0..n_remote {
            let index = self.below(fit.len());
            chosen.push(fit.swap_remove(index));
        }
        chosen
    }

    /// A random index below `n`; 0 when that is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // The bias is below n / 2^64.
        let n = n.max(1) as u64;
        usize::try_from(self.random.next_u64() % n).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
