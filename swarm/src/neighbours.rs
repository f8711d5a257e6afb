//! The links that stand, and the peers that might become neighbours.

mod routes;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cardume_wire::link::{Control, UNKNOWN_AGE};
use cardume_wire::{BlockId, BlockNumber, Epoch, PeerId, STRIPE_COUNT, Stripe, TrackSet};

use crate::bits::BitWindow;
use crate::bucket::Bucket;
use crate::{BitsPerSec, Config, Instant, Role, Route};

/// A link that takes longer has failed. ICE gives up on its own after some 10 to 30 s.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A peer that could not be connected is not tried again for this long: its NAT stays what it is.
const FAILED_FOR: Duration = Duration::from_mins(1);
/// An answer takes at most this or three round trips.
const ANSWER_MIN: Duration = Duration::from_millis(250);
/// Blocks older than a neighbour's path by this much have come to it: the spread of a key frame's blocks.
const HOLD_SLACK: Duration = Duration::from_millis(300);
/// Who declined a pull of what it has is busy for about so long. Wild guess: a key frame's push.
const BUSY_FOR: Duration = Duration::from_millis(400);
/// What was sent this lately is on its way, and links lose nothing: asked for again, it would only come twice. About as
/// long as the longest patience of who asks, and what may wait in a socket meanwhile. Simulator, `e1-churn` cut to 60 s and
/// 200 viewers: a sixth less comes twice, and 96 % instead of 86 % of the viewers get 99 % on time.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Peers remembered as suggested, failed or banned at most, each. Wild guess: many times the neighbour limit.
const MEMORY_LIMIT: usize = 256;
/// A joiner leaves the choice of its first neighbours to the server for so long, as that knows who has room.
const MESH_AFTER: Duration = Duration::from_millis(1500);
/// Nothing is taken from a suspect for so long: wrong media is sent on, and so found out again, within a second. Not for
/// ever, as one liar is enough to make a suspect.
const SUSPECTED_FOR: Duration = Duration::from_secs(5);
/// What one neighbour may have forwarded in the long run: a connection (3 to 6 KiB of SDP and candidates) each 3 s or so.
const FORWARD_RATE: BitsPerSec = BitsPerSec(16_000);
/// The same at once: four connections.
const FORWARD_BURST: usize = 24 * 1024;
/// Strangers remembered of one neighbour at most: twice what it names in one answer or refusal.
const INTRODUCED_LIMIT: usize = 16;
/// First wait after asking for neighbours; doubles up to [`FIND_WAIT_MAX`].
const FIND_WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait between two questions for neighbours.
const FIND_WAIT_MAX: Duration = Duration::from_secs(30);

/// What a neighbour last said of its place in the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) slots: u16,
    pub(crate) free: u16,
    pub(crate) ages: [u16; STRIPE_COUNT as usize],
    pub(crate) yields: u16,
    pub(crate) wait: u16,
    pub(crate) idle: u16,
    /// The tracks that it gets.
    pub(crate) tracks: TrackSet,
}

/// Whether a peer answers, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It answers.
    Heard,
    /// It does not: to the server it is as if it had left, and a viewer told the server.
    Lost,
    /// It has not for so long that the server told others.
    Announced,
}

/// One link that stands.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    /// When the link opened.
    pub(crate) opened_at: Instant,
    /// How it runs, once that is known.
    pub(crate) route: Option<Route>,
    /// Whether its Hello came.
    pub(crate) is_greeted: bool,
    /// The broadcast it knows.
    pub(crate) epoch: Option<Epoch>,
    /// When anything last came from it.
    pub(crate) heard_at: Instant,
    /// The question that it has not answered yet.
    pub(crate) pinged_at: Option<Instant>,
    /// When it was last asked.
    pub(crate) last_ping_at: Instant,
    /// Whether it is probably dead, as the tracker lost it, too; an answer dispels that.
    pub(crate) is_doubted: bool,
    /// What is thought of it as it does not answer.
    pub(crate) presence: Presence,
    /// Round trip, smoothed as in RFC 6298.
    pub(crate) rtt: Option<Duration>,
    /// Shortest round trip so far.
    pub(crate) rtt_min: Option<Duration>,
    /// Bytes that wait in its socket or data channel.
    pub(crate) backlog: usize,
    /// What it said of its place.
    pub(crate) status: Option<Status>,
    /// Per track of the catalog: blocks it has or will have from us.
    pub(crate) has: Vec<BitWindow>,
    /// Per track of the catalog: blocks that it was thought to have and has not.
    pub(crate) lacks: Vec<BitWindow>,
    /// Per track of the catalog: parts whose descriptor it has or will have from us.
    pub(crate) described: Vec<BitWindow>,
    /// Bytes of blocks that came from it.
    pub(crate) received_len: u64,
    /// Bytes of blocks sent to it.
    pub(crate) sent_len: u64,
    /// Blocks sent to it within [`ON_ITS_WAY`], the oldest first.
    sent: VecDeque<(Instant, BlockId)>,
    /// Requests it has not answered.
    pub(crate) n_asked: u32,
    /// It declined a pull: not to be asked for others before then.
    pub(crate) busy_until: Instant,
    /// When it was last told all that we hold.
    pub(crate) told_at: Option<Instant>,
    /// When the server last told it of room.
    pub(crate) invited_at: Option<Instant>,
    /// When neighbours were last named to it.
    pub(crate) named_at: Option<Instant>,
    /// What it may let others be told, or tell us of others.
    pub(crate) forwards: Bucket,
    /// Whether who it is rests on another neighbour's word, not on the tracker's.
    pub(crate) is_introduced: bool,
    /// Since when it rests, as the server told it.
    pub(crate) rests_since: Option<Instant>,
}

impl Neighbour {
    fn new(n_tracks: usize, now: Instant) -> Self {
        Self {
            opened_at: now,
            route: None,
            is_greeted: false,
            epoch: None,
            heard_at: now,
            pinged_at: None,
            last_ping_at: now,
            is_doubted: false,
            presence: Presence::Heard,
            rtt: None,
            rtt_min: None,
            backlog: 0,
            status: None,
            has: vec![BitWindow::default(); n_tracks],
            lacks: vec![BitWindow::default(); n_tracks],
            described: vec![BitWindow::default(); n_tracks],
            received_len: 0,
            sent_len: 0,
            sent: VecDeque::new(),
            n_asked: 0,
            busy_until: now,
            told_at: None,
            invited_at: None,
            named_at: None,
            forwards: Bucket::soft(FORWARD_RATE, FORWARD_BURST, now),
            is_introduced: false,
            rests_since: None,
        }
    }

    /// Whether what it sends passes the server's relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.route == Some(Route::Relayed)
    }

    /// A block went into its socket or data channel.
    pub(crate) fn note_sent(&mut self, block: BlockId, now: Instant) {
        let n_arrived = self.sent.partition_point(|(at, _)| now.since(*at) >= ON_ITS_WAY);
        self.sent.drain(..n_arrived);
        self.sent.push_back((now, block));
    }

    /// Whether a block was sent to it so lately that it comes, if it did not come already.
    pub(crate) fn is_on_its_way(&self, block: BlockId, now: Instant) -> bool {
        let lately = self.sent.iter().rev().take_while(|(at, _)| now.since(*at) < ON_ITS_WAY);
        lately.into_iter().any(|(_, sent)| *sent == block)
    }

    /// Forgets what it has: a new broadcast began.
    pub(crate) fn reset(&mut self, n_tracks: usize) {
        self.has = vec![BitWindow::default(); n_tracks];
        self.lacks = vec![BitWindow::default(); n_tracks];
        self.described = vec![BitWindow::default(); n_tracks];
        self.n_asked = 0;
    }

    /// Takes one measured round trip (RFC 6298's smoothing, alpha 1/8).
    pub(crate) fn measure(&mut self, round_trip: Duration) {
        self.rtt = Some(self.rtt.map_or(round_trip, |rtt| (rtt * 7 + round_trip) / 8));
        self.rtt_min = Some(self.rtt_min.map_or(round_trip, |rtt| rtt.min(round_trip)));
    }

    /// The round trip, or a cautious guess.
    pub(crate) fn rtt_or_guess(&self) -> Duration {
        /// Median of measured pairs of peers (the overlay's data).
        const GUESS: Duration = Duration::from_millis(135);
        self.rtt.unwrap_or(GUESS)
    }

    /// How long an answer takes at most; then the peer counts as dead.
    pub(crate) fn patience(&self) -> Duration {
        ANSWER_MIN.max(self.rtt_or_guess() * 3)
    }

    /// Whether it was asked whether it lives, and nothing has come from it for so long.
    pub(crate) fn owes_answer(&self, patience: Duration, now: Instant) -> bool {
        let was_asked = self.pinged_at.is_some_and(|at| now.since(at) > patience);
        was_asked && now.since(self.heard_at) > patience
    }

    /// Whether it has the block as far as we know. Nobody tells of each block: who said how late its stripe gets to it
    /// has what is older.
    pub(crate) fn may_hold(&self, track: usize, block: BlockId, age: Option<Duration>) -> bool {
        let number = block.number;
        let is_old = |(age, its): (Duration, Duration)| age > its + HOLD_SLACK;
        let gets_track = || self.status.is_some_and(|status| status.tracks.contains(block.track));
        let should = || gets_track() && age.zip(self.age(number.stripe())).is_some_and(is_old);
        self.has[track].contains(number.0) || (!self.lacks[track].contains(number.0) && should())
    }

    /// It will not send a block that we asked for.
    pub(crate) fn declined(&mut self, track: usize, number: BlockNumber, now: Instant) {
        if self.has[track].contains(number.0) {
            self.busy_until = now + BUSY_FOR;
        } else {
            self.lacks[track].insert(number.0);
        }
    }

    /// Whether it gets all these tracks, as far as we know.
    pub(crate) fn gets(&self, tracks: TrackSet) -> bool {
        self.status.is_none_or(|status| status.tracks.includes(tracks))
    }

    /// Age of the newest blocks of a stripe at the neighbour, as it says.
    pub(crate) fn age(&self, stripe: Stripe) -> Option<Duration> {
        let age = self.status?.ages[stripe.index()];
        (age != UNKNOWN_AGE).then(|| Duration::from_millis(u64::from(age)))
    }
}

/// All neighbours, and the candidates.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    links: BTreeMap<PeerId, Neighbour>,
    connecting: BTreeMap<PeerId, Instant>,
    failed: BTreeMap<PeerId, Instant>,
    banned: BTreeMap<PeerId, Instant>,
    suspected: BTreeMap<PeerId, Instant>,
    suggested: Vec<PeerId>,
    /// Strangers, and which neighbour named them last.
    introducers: BTreeMap<PeerId, PeerId>,
    /// From when on strangers are connected to without a reason.
    mesh_at: Instant,
    find_at: Instant,
    find_wait: Duration,
}

impl Neighbours {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            links: BTreeMap::new(),
            connecting: BTreeMap::new(),
            failed: BTreeMap::new(),
            banned: BTreeMap::new(),
            suspected: BTreeMap::new(),
            suggested: Vec::new(),
            introducers: BTreeMap::new(),
            mesh_at: now + MESH_AFTER,
            find_at: now + FIND_WAIT_MIN,
            find_wait: FIND_WAIT_MIN,
        }
    }

    /// Takes a link that stands; false when it must be closed: the peer is banned, or there are enough.
    pub(crate) fn open(&mut self, peer: PeerId, n_tracks: usize, config: &Config, now: Instant) -> bool {
        let was_asked_for = self.connecting.remove(&peer).is_some();
        self.suggested.retain(|&suggested| suggested != peer);
        let limit = match config.role {
            Role::Server => config.server_link_limit,
            // Whom we asked ourselves is welcome even if others came first.
            Role::Viewer => config.neighbour_limit + usize::from(was_asked_for) * 2,
        };
        let is_allowed = peer.is_server() || self.n_peers() < limit;
        let is_out = self.banned.contains_key(&peer) || self.is_suspected(peer, now);
        if peer == config.id || is_out || !is_allowed {
            return false;
        }
        self.failed.remove(&peer);
        let is_introduced = self.introducers.remove(&peer).is_some();
        self.links.insert(peer, Neighbour { is_introduced, ..Neighbour::new(n_tracks, now) });
        true
    }

    /// Whether another viewer's link would be one too many.
    pub(crate) fn is_full(&self, config: &Config) -> bool {
        config.role == Role::Viewer && self.n_peers() >= config.neighbour_limit
    }

    /// Forgets a link.
    pub(crate) fn close(&mut self, peer: PeerId) -> Option<Neighbour> {
        self.introducers.retain(|_, introducer| *introducer != peer);
        self.links.remove(&peer)
    }

    /// A link that was asked for did not come about.
    pub(crate) fn fail(&mut self, peer: PeerId, now: Instant) {
        self.introducers.remove(&peer);
        if self.connecting.remove(&peer).is_some() {
            remember(&mut self.failed, peer, now);
        }
    }

    /// Never again.
    pub(crate) fn ban(&mut self, peer: PeerId, now: Instant) {
        self.suggested.retain(|&suggested| suggested != peer);
        remember(&mut self.banned, peer, now);
    }

    /// Whether media came from it: no wrong one, as it would be banned.
    pub(crate) fn has_served(&self, peer: PeerId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.received_len > 0)
    }

    /// Somebody else blames the peer.
    pub(crate) fn suspect(&mut self, peer: PeerId, now: Instant) {
        self.suggested.retain(|&suggested| suggested != peer);
        remember(&mut self.suspected, peer, now);
    }

    /// Whether nothing is to be taken from the peer.
    pub(crate) fn is_suspected(&self, peer: PeerId, now: Instant) -> bool {
        self.suspected.get(&peer).is_some_and(|at| now.since(*at) < SUSPECTED_FOR)
    }

    /// Peers that somebody suggests.
    pub(crate) fn suggest(&mut self, peers: &[PeerId], config: &Config) {
        for &peer in peers {
            let is_known = self.links.contains_key(&peer) || self.suggested.contains(&peer);
            let is_out = peer.is_server() || peer == config.id || self.banned.contains_key(&peer);
            if !is_known && !is_out && self.suggested.len() < MEMORY_LIMIT {
                self.suggested.push(peer);
            }
        }
    }

    /// A neighbour names peers, and forwards what they and we have to say.
    pub(crate) fn introduce(&mut self, peers: &[PeerId], by: PeerId, config: &Config) {
        let is_stranger =
            |peer: &&PeerId| !peer.is_server() && **peer != config.id && !self.links.contains_key(peer);
        let strangers: Vec<PeerId> = peers.iter().filter(is_stranger).copied().collect();
        for peer in strangers.into_iter().filter(|_| !by.is_server()) {
            let mut known = self.introducers.iter().filter(|(_, introducer)| **introducer == by);
            let oldest = known.next().map(|(&peer, _)| peer);
            if known.count() + 1 >= INTRODUCED_LIMIT {
                oldest.map(|oldest| self.introducers.remove(&oldest));
            }
            self.introducers.insert(peer, by);
        }
    }

    /// The tracker is back, and introduces with more authority.
    pub(crate) fn forget_introducers(&mut self) {
        self.introducers.clear();
    }

    /// The neighbour that forwards what is said to this stranger.
    pub(crate) fn introducer(&self, peer: PeerId) -> Option<PeerId> {
        self.introducers.get(&peer).copied()
    }

    /// Whether a connection to this peer is being set up.
    pub(crate) fn is_connecting(&self, peer: PeerId) -> bool {
        self.connecting.contains_key(&peer)
    }

    /// The suggested peers to connect to now, up to the wanted number: others will connect to us.
    pub(crate) fn connects(&mut self, config: &Config, now: Instant) -> Vec<PeerId> {
        self.expire(now);
        let wanted =
            if now < self.mesh_at { 0 } else { config.neighbours_wanted.min(config.neighbour_limit) };
        let n_open = self.n_direct() + self.connecting.len();
        let n_free = wanted.saturating_sub(n_open);
        let failed = &self.failed;
        let chosen: Vec<PeerId> =
            self.suggested.iter().copied().filter(|peer| !failed.contains_key(peer)).take(n_free).collect();
        self.suggested.retain(|peer| !chosen.contains(peer));
        for &peer in &chosen {
            self.connecting.insert(peer, now);
        }
        chosen
    }

    /// Marks a peer as being connected, for a reason of the caller's; false when that would be wrong.
    pub(crate) fn connect(&mut self, peer: PeerId, config: &Config, now: Instant) -> bool {
        let is_known = self.links.contains_key(&peer) || self.connecting.contains_key(&peer);
        let is_out = peer.is_server() || peer == config.id || self.banned.contains_key(&peer);
        let is_full = self.n_peers() + self.connecting.len() >= config.neighbour_limit;
        if is_known || is_out || is_full || self.failed.contains_key(&peer) {
            return false;
        }
        self.suggested.retain(|&suggested| suggested != peer);
        self.connecting.insert(peer, now);
        true
    }

    /// Whether to ask for more neighbours now; if so, those not to name. Backs off while it does not help.
    pub(crate) fn find(&mut self, config: &Config, now: Instant) -> Option<Vec<PeerId>> {
        if self.n_direct() >= config.neighbours_wanted {
            self.find_wait = FIND_WAIT_MIN;
            return None;
        }
        if now < self.find_at {
            return None;
        }
        self.find_at = now + self.find_wait;
        self.find_wait = (self.find_wait * 2).min(FIND_WAIT_MAX);
        let known = self.links.keys().chain(self.connecting.keys()).chain(self.failed.keys());
        let known = known.chain(self.banned.keys()).filter(|peer| !peer.is_server());
        Some(known.copied().take(cardume_wire::signal::NEIGHBOUR_LIMIT).collect())
    }

    /// Ask again soon: a neighbour was lost.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.find_wait = FIND_WAIT_MIN;
        self.find_at = self.find_at.min(now + FIND_WAIT_MIN / 2);
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&Neighbour> {
        self.links.get(&peer)
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Neighbour> {
        self.links.get_mut(&peer)
    }

    /// By rising id, the server first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Neighbour)> {
        self.links.iter().map(|(&peer, neighbour)| (peer, neighbour))
    }

    /// By rising id, the server first.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut Neighbour)> {
        self.links.iter_mut().map(|(&peer, neighbour)| (peer, neighbour))
    }

    /// All links, the server's too.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.links.keys().copied().collect()
    }

    /// Links to viewers.
    pub(crate) fn n_peers(&self) -> usize {
        self.links.len() - usize::from(self.links.contains_key(&PeerId::SERVER))
    }

    /// We were suspended, not they: nobody has been silent.
    pub(crate) fn forgive(&mut self, now: Instant) {
        for neighbour in self.links.values_mut() {
            neighbour.heard_at = now;
            neighbour.pinged_at = None;
        }
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<PeerId> = self
            .connecting
            .iter()
            .filter(|(_, at)| now.since(**at) > CONNECT_LIMIT)
            .map(|(&p, _)| p)
            .collect();
        for peer in late {
            self.fail(peer, now);
        }
        self.failed.retain(|_, at| now.since(*at) < FAILED_FOR);
    }
}

/// Says how this peer's messages are to be treated until its Hello came.
pub(crate) fn is_allowed_before_hello(control: &Control) -> bool {
    matches!(control, Control::Hello { .. } | Control::Goodbye)
}

fn remember(peers: &mut BTreeMap<PeerId, Instant>, peer: PeerId, now: Instant) {
    if peers.len() >= MEMORY_LIMIT {
        let oldest = peers.iter().min_by_key(|(_, at)| **at).map(|(&peer, _)| peer);
        oldest.map(|oldest| peers.remove(&oldest));
    }
    peers.insert(peer, now);
}

#[cfg(test)]
mod tests;
