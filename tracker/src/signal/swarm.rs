//! Who watches one channel now.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

use super::limits::OUTBOX_LIMIT;
use crate::channel::Channel;

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
    viewer_limit: usize,
    members: Mutex<Members>,
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
}

impl Swarm {
    pub(super) fn new(channel: Arc<Channel>, viewer_limit: usize, seed: u64) -> Self {
        let announcement = watch::Sender::new(to_json(&FromTracker::Channel { channel: channel.describe() }));
        let members = Members {
            by_id: BTreeMap::new(),
            order: Vec::new(),
            n_at_home: [0; STRIPE_COUNT as usize],
            evicted: watch::Sender::default(),
            n_sessions: 0,
            totals: ReportTotals::default(),
            random: ChaCha8Rng::seed_from_u64(seed),
        };
        Self { channel, viewer_limit, members: Mutex::new(members), announcement }
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
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
            if members.order.len() >= self.viewer_limit && !is_replacing {
                return Err(JoinError::Full);
            }
            let peer = resumed.unwrap_or_else(|| members.new_id());
            (peer, members.insert(peer, outbox, closing.clone()))
        };
        self.count();
        Ok(Membership { swarm: Arc::clone(self), peer, session, inbox, closing })
    }

    /// Passes an offer, an answer or a candidate of one member on to another.
    ///
    /// # Errors
    /// [`Gone`] when `to` is not here; also when it reads too slowly, and then it is closed. Who is evicted or
    /// suspected finds nobody, and is found by nobody.
    pub(super) fn introduce(&self, from: PeerId, to: PeerId, message: &FromTracker) -> Result<(), Gone> {
        let json = to_json(message);
        let mut members = self.lock();
        if members.is_shunned(from) || members.is_shunned(to) {
            return Err(Gone);
        }
        members.deliver(to, json)?;
        if matches!(message, FromTracker::Offer { .. } | FromTracker::Answer { .. }) {
            members.note_contact(from, to);
        }
        Ok(())
    }

    /// Up to [`NEIGHBOURS_SUGGESTED`] members at random, other than these; none for an evicted member.
    pub(super) fn neighbours(&self, of: PeerId, without: &[PeerId]) -> Vec<PeerId> {
        let mut members = self.lock();
        if members.is_evicted(of) {
            return Vec::new();
        }
        members.sample(NEIGHBOURS_SUGGESTED.min(NEIGHBOUR_LIMIT), of, without)
    }

    /// Records that `by` accuses `peer` of wrong media. Counts when `peer` wanted a link with `by`, or agreed to one, and
    /// `by` is not evicted itself.
    pub(super) fn blame(&self, by: PeerId, peer: PeerId) {
        let mut members = self.lock();
        if members.is_evicted(by) || members.is_evicted(peer) {
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
        members.tell_blame(peer, is_evicted);
        if is_evicted {
            tracing::warn!(channel = %self.channel.id(), %peer, "evicted: {BLAME_LIMIT} viewers blame it for wrong media");
            members.evict(peer);
        }
    }

    /// The peers that are evicted now; wakes when there are more.
    pub(super) fn evicted(&self) -> watch::Receiver<BTreeSet<PeerId>> {
        self.lock().evicted.subscribe()
    }

    pub(super) fn report(&self, report: &Report) {
        self.lock().totals.add(report);
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

    /// Tells those whom the peer offered or answered that it is lost, unless a newer session has taken its place.
    fn tell_lost(&self, peer: PeerId, session: u64) {
        let Some(lost) = self.by_id.get(&peer).filter(|member| member.session == session) else { return };
        let json = to_json(&FromTracker::Lost { peer });
        for contact in lost.contacts.iter().filter_map(|contact| self.by_id.get(contact)) {
            // Whose outbox is full finds out by itself: nobody is closed for what others did.
            let _ = contact.outbox.try_send(json.clone());
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

    /// Tells those whom the peer offered or answered that it is blamed.
    fn tell_blame(&self, peer: PeerId, is_evicted: bool) {
        let Some(blamed) = self.by_id.get(&peer) else { return };
        let json = to_json(&FromTracker::Blamed { peer, is_evicted });
        for contact in blamed.contacts.iter().filter_map(|contact| self.by_id.get(contact)) {
            // Whose outbox is full finds out by itself: nobody is closed for what others did.
            let _ = contact.outbox.try_send(json.clone());
        }
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

    /// A random index below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        // The bias is below n / 2^64.
        let n = n.max(1) as u64;
        usize::try_from(self.random.next_u64() % n).unwrap_or(0)
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
        // A viewer may claim anything; sums saturate.
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.n_reports, 1);
        add(&mut self.n_stalls, u64::from(report.n_stalls));
        add(&mut self.stalled_ms, u64::from(report.stalled_ms));
        add(&mut self.from_peers_len, report.from_peers_len);
        add(&mut self.from_server_len, report.from_server_len);
        add(&mut self.sent_len, report.sent_len);
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
        self.swarm.lock().tell_lost(self.peer, self.session);
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

/// Names a channel in errors.
pub(super) fn unknown_channel(id: &ChannelId) -> String {
    format!("there is no channel {:?} here", id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{ChannelSetup, Channels};
    use std::time::Duration;

    fn swarm(viewer_limit: usize) -> Arc<Swarm> {
        seeded(viewer_limit, 1)
    }

    fn seeded(viewer_limit: usize, seed: u64) -> Arc<Swarm> {
        let setup = ChannelSetup {
            id: "live".parse().unwrap(),
            title: "Live".to_owned(),
            stream_key: "secret-key".to_owned(),
            target_latency: Duration::from_secs(2),
            signing_key: cardume_media::SigningKey::from_seed([1; 32]),
        };
        let (channels, _) = Channels::new(vec![setup]);
        let channel = channels.find(&"live".parse().unwrap()).unwrap();
        Arc::new(Swarm::new(channel, viewer_limit, seed))
    }

    fn n_viewers(swarm: &Swarm) -> u32 {
        swarm.channel().describe().n_viewers
    }

    #[test]
    fn a_joiner_is_told_of_all_in_a_small_swarm_and_never_of_itself() {
        let swarm = swarm(100);
        let members: Vec<_> = (0..5).map(|_| swarm.join(None).unwrap()).collect();
        let mut neighbours = swarm.neighbours(members[0].peer(), &[]);
        neighbours.sort();
        let mut others: Vec<_> = members[1..].iter().map(Membership::peer).collect();
        others.sort();
        assert_eq!(neighbours, others);
        assert_eq!(swarm.neighbours(members[0].peer(), &others[..3]), others[3..]);
    }

    #[test]
    fn in_a_large_swarm_everybody_is_suggested_now_and_then() {
        let swarm = swarm(1000);
        let members: Vec<_> = (0..300).map(|_| swarm.join(None).unwrap()).collect();
        let mut seen = BTreeSet::new();
        for member in &members {
            let neighbours = swarm.neighbours(member.peer(), &[]);
            assert_eq!(neighbours.iter().collect::<BTreeSet<_>>().len(), NEIGHBOURS_SUGGESTED);
            assert!(!neighbours.contains(&member.peer()));
            seen.extend(neighbours);
        }
        // 2,400 draws from 300: a peer is missed with a probability of e^-8.
        assert!(seen.len() > 290, "{}", seen.len());
    }

    /// How many of these are at home in each stripe.
    fn homes(members: &[Membership]) -> Vec<usize> {
        let at_home = |stripe| members.iter().filter(|member| member.peer().home_stripe() == stripe).count();
        Stripe::all().map(at_home).collect()
    }

    #[test]
    fn whoever_joins_is_at_home_where_the_fewest_are() {
        let swarm = swarm(1000);
        let mut members: Vec<Membership> = Vec::new();
        for _ in 0..102 {
            members.push(swarm.join(None).unwrap());
            let homes = homes(&members);
            assert!(homes.iter().max().unwrap() - homes.iter().min().unwrap() <= 1, "{homes:?}");
        }
        // One stripe loses all of its peers; the next to come are at home there until it has caught up.
        let deserted = members[0].peer().home_stripe();
        let n_before = members.len();
        members.retain(|member| member.peer().home_stripe() != deserted);
        for _ in 1..n_before - members.len() {
            members.push(swarm.join(None).unwrap());
            assert_eq!(members.last().unwrap().peer().home_stripe(), deserted);
        }
    }

    #[test]
    fn who_comes_first_is_at_home_anywhere() {
        let homes: BTreeSet<_> =
            (0..64).map(|seed| seeded(10, seed).join(None).unwrap().peer().home_stripe()).collect();
        assert_eq!(homes.len(), usize::from(STRIPE_COUNT));
    }

    #[test]
    fn members_come_and_go_and_are_counted() {
        let swarm = swarm(3);
        let mut members: Vec<_> = (0..3).map(|_| swarm.join(None).unwrap()).collect();
        assert_eq!(swarm.join(None).unwrap_err(), JoinError::Full);
        let gone = members.remove(0).peer();
        assert_eq!(n_viewers(&swarm), 2);
        assert_eq!(swarm.neighbours(members[0].peer(), &[]), [members[1].peer()]);
        let message = FromTracker::Gone { peer: gone };
        assert_eq!(swarm.introduce(members[1].peer(), gone, &message), Err(Gone));
        assert_eq!(swarm.introduce(members[1].peer(), members[0].peer(), &message), Ok(()));
        assert_eq!(members[0].inbox.try_recv().unwrap(), to_json(&message));
    }

    #[test]
    fn a_resumed_peer_takes_the_place_of_its_older_socket() {
        let swarm = swarm(1);
        let old = swarm.join(None).unwrap();
        let peer = old.peer();
        let new = swarm.join(Some(peer)).unwrap();
        assert!(old.closing.is_cancelled() && !new.closing.is_cancelled());
        drop(old);
        assert_eq!((new.peer(), n_viewers(&swarm)), (peer, 1));
        drop(new);
        assert_eq!(n_viewers(&swarm), 0);
    }

    #[test]
    fn a_member_that_does_not_read_is_closed() {
        let swarm = swarm(10);
        let (slow, other) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
        let message = FromTracker::Gone { peer: PeerId::new(1) };
        for _ in 0..OUTBOX_LIMIT {
            swarm.introduce(other.peer(), slow.peer(), &message).unwrap();
        }
        assert!(!slow.closing.is_cancelled());
        assert_eq!(swarm.introduce(other.peer(), slow.peer(), &message), Err(Gone));
        assert!(slow.closing.is_cancelled());
    }

    fn offer(swarm: &Swarm, from: &Membership, to: &Membership) -> Result<(), Gone> {
        swarm.introduce(from.peer(), to.peer(), &FromTracker::Offer { from: from.peer(), sdp: String::new() })
    }

    /// Of whom this member was told that they are lost.
    fn told_lost(member: &mut Membership) -> Vec<PeerId> {
        let told = std::iter::from_fn(|| member.inbox.try_recv().ok());
        let told = told.map(|json| serde_json::from_str(&json).unwrap());
        told.filter_map(|message| if let FromTracker::Lost { peer } = message { Some(peer) } else { None })
            .collect()
    }

    #[test]
    fn that_a_peer_is_lost_is_told_to_those_it_met_last() {
        let swarm = swarm(1000);
        let lost = swarm.join(None).unwrap();
        let mut met: Vec<_> = (0..=CONTACT_LIMIT).map(|_| swarm.join(None).unwrap()).collect();
        for member in &met {
            offer(&swarm, &lost, member).unwrap();
        }
        // The first is met again, so the second is the one that is forgotten.
        offer(&swarm, &lost, &met[0]).unwrap();
        offer(&swarm, &met[1], &lost).unwrap();
        lost.tell_lost();
        let told: Vec<_> = met.iter_mut().map(told_lost).collect();
        let is_told = |index: usize| told[index] == [lost.peer()];
        assert!(is_told(0) && told[1].is_empty() && (3..=CONTACT_LIMIT).all(is_told), "{told:?}");
        assert_eq!(told.concat().len(), CONTACT_LIMIT);
    }

    #[test]
    fn a_peer_that_has_a_newer_socket_is_not_lost_with_the_older() {
        let swarm = swarm(10);
        let (old, mut met) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
        offer(&swarm, &old, &met).unwrap();
        let new = swarm.join(Some(old.peer())).unwrap();
        old.tell_lost();
        assert_eq!(told_lost(&mut met), []);
        new.tell_lost();
        assert_eq!(told_lost(&mut met), [new.peer()]);
    }

    #[test]
    fn who_reads_slowly_is_not_closed_for_the_loss_of_another() {
        let swarm = swarm(10);
        let (lost, slow) = (swarm.join(None).unwrap(), swarm.join(None).unwrap());
        for _ in 0..OUTBOX_LIMIT {
            offer(&swarm, &lost, &slow).unwrap();
        }
        lost.tell_lost();
        assert!(!slow.closing.is_cancelled());
    }

    #[test]
    fn a_peer_blamed_by_enough_of_its_neighbours_is_evicted() {
        let swarm = swarm(10);
        let members: Vec<_> = (0..5).map(|_| swarm.join(None).unwrap()).collect();
        let polluter = members[0].peer();
        for member in &members[1..] {
            offer(&swarm, &members[0], member).unwrap();
        }
        let is_suggested = || swarm.neighbours(members[4].peer(), &[]).contains(&polluter);
        let evicted = swarm.evicted();
        for _ in 0..5 {
            swarm.blame(members[1].peer(), polluter);
            swarm.blame(polluter, polluter);
        }
        assert!(!evicted.has_changed().unwrap(), "one accuser is too few");
        swarm.blame(members[2].peer(), polluter);
        assert!(evicted.has_changed().unwrap() && evicted.borrow().contains(&polluter));
        assert!(!is_suggested());
        assert_eq!(swarm.neighbours(polluter, &[]), [], "it is told of nobody");
        assert_eq!(offer(&swarm, &members[0], &members[4]), Err(Gone), "it reaches nobody");
        let again = swarm.join(Some(polluter)).unwrap();
        assert_eq!(again.peer(), polluter);
        assert!(!is_suggested(), "rejoining does not help");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_blamed_once_is_introduced_to_nobody_for_a_while() {
        let swarm = swarm(10);
        let members: Vec<_> = (0..3).map(|_| swarm.join(None).unwrap()).collect();
        let suspect = members[0].peer();
        offer(&swarm, &members[0], &members[1]).unwrap();
        swarm.blame(members[1].peer(), suspect);
        assert_eq!(offer(&swarm, &members[0], &members[2]), Err(Gone));
        assert_eq!(offer(&swarm, &members[2], &members[0]), Err(Gone));
        assert!(!swarm.neighbours(members[2].peer(), &[]).contains(&suspect));
        tokio::time::advance(SUSPECTED_FOR).await;
        // To say it again is no news.
        swarm.blame(members[1].peer(), suspect);
        assert!(swarm.neighbours(members[2].peer(), &[]).contains(&suspect));
        assert_eq!(offer(&swarm, &members[2], &members[0]), Ok(()));
    }

    #[test]
    fn each_blame_is_told_to_those_whom_the_blamed_met_and_to_nobody_else() {
        let swarm = swarm(10);
        let mut members: Vec<_> = (0..4).map(|_| swarm.join(None).unwrap()).collect();
        let polluter = members[0].peer();
        for met in &members[1..3] {
            offer(&swarm, &members[0], met).unwrap();
        }
        swarm.blame(members[1].peer(), polluter);
        swarm.blame(members[2].peer(), polluter);
        let told: Vec<Vec<bool>> =
            members[1..].iter_mut().map(|member| told_blames(member, polluter)).collect();
        assert_eq!(told, [vec![false, true], vec![false, true], vec![]]);
    }

    /// What this member was told of the blamed peer: each time whether it is evicted.
    fn told_blames(member: &mut Membership, blamed: PeerId) -> Vec<bool> {
        let told = std::iter::from_fn(|| member.inbox.try_recv().ok());
        told.filter_map(|json| match serde_json::from_str(&json).unwrap() {
            FromTracker::Blamed { peer, is_evicted } if peer == blamed => Some(is_evicted),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn blame_of_strangers_and_of_the_evicted_does_not_count() {
        let swarm = swarm(20);
        let members: Vec<_> = (0..12).map(|_| swarm.join(None).unwrap()).collect();
        let (victim, liars) = (&members[0], &members[1..]);
        for liar in liars {
            // To offer a link is not to be let in.
            offer(&swarm, liar, victim).unwrap();
            swarm.blame(liar.peer(), victim.peer());
        }
        assert_eq!(*swarm.evicted().borrow(), BTreeSet::new());

        // Three are found out; what they say about others is void from then on.
        let (found_out, honest) = liars.split_at(3);
        for polluter in found_out {
            offer(&swarm, victim, polluter).unwrap();
            for accuser in &honest[..3] {
                offer(&swarm, polluter, accuser).unwrap();
            }
            for accuser in &honest[..3] {
                swarm.blame(accuser.peer(), polluter.peer());
            }
            swarm.blame(polluter.peer(), victim.peer());
        }
        assert_eq!(*swarm.evicted().borrow(), found_out.iter().map(Membership::peer).collect());
    }
}
