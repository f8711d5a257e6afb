//! Who watches one channel now.

mod remote;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use cardume_wire::signal::{FromTracker, NEIGHBOUR_LIMIT, Report};
use cardume_wire::{ChannelId, PeerId, STRIPE_COUNT, Stripe};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::abroad::{Abroad, Letter, News};
use super::limits::OUTBOX_LIMIT;
use crate::channel::Channel;
use remote::Remotes;

/// Neighbours suggested at once; the overlay wants 8 to 16.
pub(super) const NEIGHBOURS_SUGGESTED: usize = 8;
/// Different viewers that must blame a peer before it is evicted: suggested to nobody, introduced to nobody, and
/// without its link to the server peer.
///
/// Two: one liar cannot evict anybody, and a polluter harms few more viewers than that (scenario `polluters`). Two liars
/// can, but those whom the evicted has served go by what they saw, and stay with it.
const BLAME_LIMIT: usize = 2;
/// Peers of which is remembered that a member sent them an offer or an answer; those not met for longest are forgotten
/// first.
///
/// Only they can blame it: three liars who know nothing but an id evict nobody, they must have been let in as neighbours.
/// And only they are told when it is lost. Four times as many as a peer may have at once, as neighbours come and go.
const CONTACT_LIMIT: usize = 4 * NEIGHBOUR_LIMIT;
/// Who is blamed once is introduced to nobody, and nothing is taken from it, for so long: the same as in `swarm`. Wild guess:
/// a polluter is found out within a second of being trusted again, and one liar is enough for this.
const SUSPECTED_FOR: Duration = Duration::from_secs(5);
/// Evicted peers that are remembered; the lowest ids are forgotten first.
const EVICTED_LIMIT: usize = 1024;
/// Swarms up to this size are shuffled whole; larger ones are sampled, which costs the same for any size.
const SHUFFLE_LIMIT: usize = 64;
/// Draws for each neighbour wanted in a large swarm: with at most a quarter of it excluded, plenty.
const DRAWS_PER_NEIGHBOUR: usize = 8;

/// Why somebody may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The channel has as many viewers as it may.
    #[error("the channel is full; try again later")]
    Full,
}

/// The peer asked for is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Sums over all reports of a channel's viewers since the tracker began.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReportTotals {
    /// Reports that counted.
    pub n_reports: u64,
    /// Times a picture stopped for lack of media.
    pub n_stalls: u64,
    /// For how long in all, in milliseconds.
    pub stalled_ms: u64,
    /// Media bytes that came from neighbours.
    pub from_peers_len: u64,
    /// Media bytes that came from the server peer.
    pub from_server_len: u64,
    /// Media bytes that were sent to neighbours.
    pub sent_len: u64,
}

/// The viewers of one channel. Its lock is never held across an await.
#[derive(Debug)]
pub(super) struct Swarm {
    channel: Arc<Channel>,
    viewer_limit: AtomicUsize,
    members: Mutex<Members>,
    /// `None` without other nodes.
    abroad: Option<Abroad>,
    /// The channel's newest `channel` message, already as JSON.
    pub(super) announcement: watch::Sender<Utf8Bytes>,
}

#[derive(Debug)]
struct Members {
    by_id: BTreeMap<PeerId, Member>,
    /// The same peers, to draw from at random.
    order: Vec<PeerId>,
    /// How many of them are at home in each stripe.
    n_at_home: [usize; STRIPE_COUNT as usize],
    evicted: watch::Sender<BTreeSet<PeerId>>,
    n_sessions: u64,
    totals: ReportTotals,
    random: ChaCha8Rng,
    /// Nobody without other nodes.
    remotes: Remotes,
}

#[derive(Debug)]
struct Member {
    /// Which of the sockets that had this id it is.
    session: u64,
    /// Its index in [`Members::order`].
    index: usize,
    outbox: mpsc::Sender<Utf8Bytes>,
    closing: CancellationToken,
    /// Whom it sent an offer or an answer, the latest at the end; at most [`CONTACT_LIMIT`].
    contacts: VecDeque<PeerId>,
    /// At most [`BLAME_LIMIT`].
    blamed_by: BTreeSet<PeerId>,
    /// The last time.
    blamed_at: Option<Instant>,
    /// Media bytes that it sent to neighbours, by its last report.
    sent_len: u64,
}

impl Swarm {
    pub(super) fn new(channel: Arc<Channel>, viewer_limit: usize, seed: u64, abroad: Option<Abroad>) -> Self {
        let announcement = watch::Sender::new(to_json(&FromTracker::Channel { channel: channel.describe() }));
        let members = Members {
            by_id: BTreeMap::new(),
            order: Vec::new(),
            n_at_home: [0; STRIPE_COUNT as usize],
            evicted: watch::Sender::default(),
            n_sessions: 0,
            totals: ReportTotals::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
            remotes: Remotes::default(),
        };
        let viewer_limit = AtomicUsize::new(viewer_limit);
        Self { channel, viewer_limit, members: Mutex::new(members), abroad, announcement }
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(super) fn set_viewer_limit(&self, viewer_limit: usize) {
        self.viewer_limit.store(viewer_limit, Ordering::Relaxed);
    }

    /// Ends the sockets of all members: the channel is taken away.
    pub(super) fn close(&self) {
        self.lock().by_id.values().for_each(|member| member.closing.cancel());
    }

    /// Lets a viewer in, as the peer it was before or as a new one. An older socket of the same peer is closed.
    ///
    /// # Errors
    /// [`JoinError::Full`].
    pub(super) fn join(self: &Arc<Self>, resumed: Option<PeerId>) -> Result<Membership, JoinError> {
        let (outbox, inbox) = mpsc::channel(OUTBOX_LIMIT);
        let closing = CancellationToken::new();
        let (peer, session) = {
            let mut members = self.lock();
            let is_replacing = resumed.is_some_and(|peer| members.by_id.contains_key(&peer));
            if members.order.len() >= self.viewer_limit.load(Ordering::Relaxed) && !is_replacing {
                return Err(JoinError::Full);
            }
            let peer = resumed.unwrap_or_else(|| members.new_id());
            (peer, members.insert(peer, outbox, closing.clone()))
        };
        if resumed.is_some() {
            self.tell_others(News::Resumed { peer });
        }
        self.count();
        Ok(Membership { swarm: Arc::clone(self), peer, session, inbox, closing })
    }

    /// Passes an offer, an answer or a candidate of one member on to another, or to a peer of another node.
    ///
    /// # Errors
    /// [`Gone`] when `to` is not known; also when it reads too slowly, and then it is closed. Who is evicted or
    /// suspected finds nobody, and is found by nobody.
    pub(super) fn introduce(&self, from: PeerId, to: PeerId, message: &FromTracker) -> Result<(), Gone> {
        let mut members = self.lock();
        if members.is_shunned(from) || members.is_shunned(to) {
            return Err(Gone);
        }
        match members.remotes.node_of(to).filter(|_| !members.by_id.contains_key(&to)) {
            Some(_) if !self.reaches_others() => return Err(Gone),
            Some(node) => {
                if let FromTracker::Offer { .. } = message {
                    members.remotes.note_offer(node, from, to);
                }
                self.write(node, to, Letter::Tell { message: message.clone() });
            }
            None => members.deliver(to, to_json(message))?,
        }
        if matches!(message, FromTracker::Offer { .. } | FromTracker::Answer { .. }) {
            members.note_contact(from, to);
        }
        Ok(())
    }

    /// Up to [`NEIGHBOURS_SUGGESTED`] members at random, other than these, and some peers of other nodes; none for an evicted
    /// member.
    pub(super) fn neighbours(&self, of: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let mut members = self.lock();
        if members.is_evicted(of) {
            return Vec::new();
        }
        let chosen = members.sample(NEIGHBOURS_SUGGESTED.min(NEIGHBOUR_LIMIT), of, without);
        if self.reaches_others() { members.mix(chosen, of, without) } else { chosen }
    }

    /// Records that `by` accuses `peer` of wrong media; of a peer of another node, that node does. Counts when `peer` wanted a
    /// link with `by`, or agreed to one, and `by` is not evicted itself.
    pub(super) fn blame(&self, by: PeerId, peer: PeerId) {
        let mut members = self.lock();
        if members.is_evicted(by) || members.is_evicted(peer) {
            return;
        }
        if let Some(node) = members.remotes.node_of(peer).filter(|_| !members.by_id.contains_key(&peer)) {
            // Only of our own: what another node passes on about a peer that left us goes no further.
            if members.by_id.contains_key(&by) {
                self.write(node, peer, Letter::Blame { by });
            }
            return;
        }
        let Some(member) = members.by_id.get_mut(&peer).filter(|member| member.contacts.contains(&by)) else {
            return;
        };
        if !member.blamed_by.insert(by) {
            return;
        }
        member.blamed_at = Some(Instant::now());
        let is_evicted = member.blamed_by.len() >= BLAME_LIMIT;
        self.tell_contacts(&members, peer, &FromTracker::Blamed { peer, is_evicted });
        if is_evicted {
            tracing::warn!(channel = %self.channel.id(), %peer, "evicted: {BLAME_LIMIT} viewers blame it for wrong media");
            members.evict(peer);
            self.tell_others(News::Evicted { peer });
        }
    }

    /// Tells those whom the peer offered or answered that it does not answer the server peer.
    pub(super) fn tell_doubted(&self, peer: PeerId) {
        self.tell_contacts(&self.lock(), peer, &FromTracker::Lost { peer });
    }

    /// Tells those whom the peer offered or answered that it is lost, unless a newer session has taken its place.
    fn tell_lost(&self, peer: PeerId, session: u64) {
        let members = self.lock();
        if members.by_id.get(&peer).is_some_and(|member| member.session == session) {
            self.tell_contacts(&members, peer, &FromTracker::Lost { peer });
        }
    }

    /// The peers that are evicted now; wakes when there are more.
    pub(super) fn evicted(&self) -> watch::Receiver<BTreeSet<PeerId>> {
        self.lock().evicted.subscribe()
    }

    pub(super) fn report(&self, by: PeerId, report: &Report) {
        let mut members = self.lock();
        members.totals.add(report);
        if let Some(member) = members.by_id.get_mut(&by) {
            member.sent_len = report.sent_len;
        }
    }

    pub(super) fn totals(&self) -> ReportTotals {
        self.lock().totals.clone()
    }

    fn leave(&self, peer: PeerId, session: u64) {
        self.lock().remove(peer, session);
        self.count();
    }

    fn count(&self) {
        let n_viewers = self.lock().order.len();
        self.channel.set_viewers(u32::try_from(n_viewers).unwrap_or(u32::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// An id that nobody has, at home in the stripe where the fewest are: uplink is spent in home stripes, so this is
    /// what keeps one stripe from starving beside another.
    fn new_id(&mut self) -> PeerId {
        let home = self.poorest_stripe();
        loop {
            // One draw in STRIPE_COUNT is at home there.
            let peer = PeerId::new(self.random.next_u64());
            if peer.home_stripe() == home && !peer.is_server() && !self.by_id.contains_key(&peer) {
                return peer;
            }
        }
    }

    /// The stripe in which the fewest members are at home; any of several at random.
    fn poorest_stripe(&mut self) -> Stripe {
        let fewest = self.n_at_home.iter().min().copied();
        let is_poorest = |stripe: &Stripe| self.n_at_home.get(stripe.index()).copied() == fewest;
        let poorest: Vec<_> = Stripe::all().filter(is_poorest).collect();
        let chosen = self.below(poorest.len());
        poorest.get(chosen).copied().unwrap_or_else(|| PeerId::SERVER.home_stripe())
    }

    fn at_home(&mut self, peer: PeerId) -> Option<&mut usize> {
        self.n_at_home.get_mut(peer.home_stripe().index())
    }

    /// Enters the peer and gives its session's number.
    fn insert(&mut self, peer: PeerId, outbox: mpsc::Sender<Utf8Bytes>, closing: CancellationToken) -> u64 {
        self.n_sessions += 1;
        let session = self.n_sessions;
        if let Some(member) = self.by_id.get_mut(&peer) {
            member.closing.cancel();
            (member.session, member.outbox, member.closing) = (session, outbox, closing);
            return session;
        }
        let member = Member {
            session,
            index: self.order.len(),
            outbox,
            closing,
            contacts: VecDeque::new(),
            blamed_by: BTreeSet::new(),
            blamed_at: None,
            sent_len: 0,
        };
        self.order.push(peer);
        self.by_id.insert(peer, member);
        if let Some(n_at_home) = self.at_home(peer) {
            *n_at_home += 1;
        }
        session
    }

    /// Removes the peer unless a newer session has taken its place.
    fn remove(&mut self, peer: PeerId, session: u64) {
        let is_current = self.by_id.get(&peer).is_some_and(|member| member.session == session);
        let Some(member) = is_current.then(|| self.by_id.remove(&peer)).flatten() else { return };
        if let Some(n_at_home) = self.at_home(peer) {
            *n_at_home = n_at_home.saturating_sub(1);
        }
        self.order.swap_remove(member.index);
        if let Some(moved) = self.order.get(member.index).and_then(|moved| self.by_id.get_mut(moved)) {
            moved.index = member.index;
        }
    }

    fn deliver(&self, to: PeerId, json: Utf8Bytes) -> Result<(), Gone> {
        let member = self.by_id.get(&to).ok_or(Gone)?;
        member.outbox.try_send(json).map_err(|error| {
            if let TrySendError::Full(_) = error {
                member.closing.cancel();
            }
            Gone
        })
    }

    fn note_contact(&mut self, from: PeerId, to: PeerId) {
        let Some(member) = self.by_id.get_mut(&from) else { return };
        member.contacts.retain(|contact| *contact != to);
        if member.contacts.len() == CONTACT_LIMIT {
            member.contacts.pop_front();
        }
        member.contacts.push_back(to);
    }

    fn is_evicted(&self, peer: PeerId) -> bool {
        self.evicted.borrow().contains(&peer)
    }

    /// Whether it is evicted or suspected.
    fn is_shunned(&self, peer: PeerId) -> bool {
        let blamed_at = self.by_id.get(&peer).and_then(|member| member.blamed_at);
        self.is_evicted(peer) || blamed_at.is_some_and(|at| at.elapsed() < SUSPECTED_FOR)
    }

    fn evict(&self, peer: PeerId) {
        self.evicted.send_modify(|evicted| {
            evicted.insert(peer);
            if evicted.len() > EVICTED_LIMIT {
                evicted.pop_first();
            }
        });
    }

    fn sample(&mut self, n_wanted: usize, of: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let mut chosen = Vec::with_capacity(n_wanted);
        let n_members = self.order.len();
        let n_draws = if n_members <= SHUFFLE_LIMIT { n_members } else { n_wanted * DRAWS_PER_NEIGHBOUR };
        for drawn in 0..n_draws.min(n_members) {
            // A partial Fisher-Yates shuffle of the order itself: each draw is uniform over what is not drawn yet.
            let index = drawn + self.below(n_members - drawn);
            self.swap(drawn, index);
            let Some(&peer) = self.order.get(drawn) else { break };
            if peer != of && !without.contains(&peer) && !self.is_shunned(peer) {
                chosen.push(peer);
            }
            if chosen.len() == n_wanted {
                break;
            }
        }
        chosen
    }

    fn swap(&mut self, left: usize, right: usize) {
        self.order.swap(left, right);
        for index in [left, right] {
            if let Some(member) = self.order.get(index).and_then(|peer| self.by_id.get_mut(peer)) {
                member.index = index;
            }
        }
    }
}

impl ReportTotals {
    fn add(&mut self, report: &Report) {
        self.add_all(&Self {
            n_reports: 1,
            n_stalls: u64::from(report.n_stalls),
            stalled_ms: u64::from(report.stalled_ms),
            from_peers_len: report.from_peers_len,
            from_server_len: report.from_server_len,
            sent_len: report.sent_len,
        });
    }

    /// Adds up the reports of two channels.
    pub(crate) fn add_all(&mut self, other: &Self) {
        // A viewer may claim anything; sums saturate.
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.n_reports, other.n_reports);
        add(&mut self.n_stalls, other.n_stalls);
        add(&mut self.stalled_ms, other.stalled_ms);
        add(&mut self.from_peers_len, other.from_peers_len);
        add(&mut self.from_server_len, other.from_server_len);
        add(&mut self.sent_len, other.sent_len);
    }
}

/// A viewer's place in a swarm; dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Membership {
    swarm: Arc<Swarm>,
    peer: PeerId,
    session: u64,
    /// Messages from other members.
    pub(super) inbox: mpsc::Receiver<Utf8Bytes>,
    /// Cancelled when another socket took the peer's place, or this one reads too slowly.
    pub(super) closing: CancellationToken,
}

impl Membership {
    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Tells those whom it offered or answered that it is lost; for just before the place is given up.
    pub(super) fn tell_lost(&self) {
        self.swarm.tell_lost(self.peer, self.session);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.swarm.leave(self.peer, self.session);
    }
}

/// The message as it travels.
pub(crate) fn to_json(message: &FromTracker) -> Utf8Bytes {
    // Strings, numbers and lists of them: nothing in these types fails to serialise.
    serde_json::to_string(message).unwrap_or_default().into()
}

/// Why a film of a cluster may not be found.
pub(crate) const NOT_OF_OTHERS: &str = "; if it is a film, only the node that has its file shows it";

/// Names a channel in errors.
pub(super) fn unknown_channel(id: &ChannelId, has_other_nodes: bool) -> String {
    let elsewhere = if has_other_nodes { NOT_OF_OTHERS } else { "" };
    format!("there is no channel {:?} here{elsewhere}", id.as_str())
}

#[cfg(test)]
mod tests;
