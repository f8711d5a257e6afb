//! Pulling what push does not bring in time.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::link::{Control, REQUEST_LIMIT};
use cardume_wire::{BlockId, BlockNumber, PeerId, Stripe};

use super::Peer;
use crate::pacer::{Cargo, Class};
use crate::window::Block;
use crate::{Instant, PartFacts, Role};

/// While nothing plays yet, a block that is known for this long without coming is pulled: by then those who catch us
/// up would have sent it.
const JOIN_MARGIN: Duration = Duration::from_millis(1200);
/// The same while nothing plays yet: providers are still being found.
const JOIN_ORPHAN_MARGIN: Duration = Duration::from_millis(500);
/// A block that is known for less than this may still come by itself, however urgent: the spread between paths. Without
/// it, whoever is behind would pull everything and keep the swarm late.
const SPREAD: Duration = Duration::from_millis(250);
/// A provider that catches us up is not late for so long.
const CATCH_UP: Duration = Duration::from_secs(3);
/// While nobody pushes its stripe, a block is pulled when it is known for this long.
const ORPHAN_MARGIN: Duration = Duration::from_millis(80);
/// After a refusal it is asked for again, elsewhere, after this long.
const RETRY_MARGIN: Duration = Duration::from_millis(60);
/// Time before its playout at which a block is pulled whatever else. Sooner is worse: most of what is late is on its way, comes
/// twice, and takes the uplinks on which all wait. Simulator, 200 viewers, 4 seeds: with 700 ms instead of 400, `flash-10k` has
/// 83 instead of 97 % of viewers with 99 % on time, and `half-dies` 31 instead of 75 % of the survivors.
const URGENT: Duration = Duration::from_millis(400);
/// Time before its playout from which on the server is asked. Not sooner: what is late everywhere is late because the
/// server is busy, and pulls by those whom it does not feed would keep it so.
const LAST_RESORT: Duration = Duration::from_millis(300);
/// The same for a stripe that nobody pushes.
const ORPHAN_RESORT: Duration = Duration::from_millis(900);
/// A part must be there this long before it plays: append and decode.
const APPEND_MARGIN: Duration = Duration::from_millis(150);
/// An answer takes at least this long to be called late.
const PATIENCE_MIN: Duration = Duration::from_millis(250);
/// An answer takes at most this long.
const PATIENCE_MAX: Duration = Duration::from_millis(700);
/// Blocks asked of one neighbour at a time: 6 of the longest blocks take the median uplink 0.3 s.
const ASK_LIMIT: u32 = 6;
/// Blocks asked of the server at a time.
const SERVER_ASK_LIMIT: u32 = 16;
/// Blocks asked for at a time, of all together: more than a stripe's in a round trip, but a swarm that is late as a whole
/// must not make itself later by pulling everything.
const OPEN_LIMIT: usize = 12;
/// Pulls are answered while no more than this waits before them; behind more they would come too late.
const SERVE_BACKLOG: usize = 96 * 1024;

/// What should have been on screen for so long is not asked for any more: what is still to be shown comes first.
const GIVE_UP: Duration = Duration::from_secs(1);
/// Of each four tries the one that goes to the provider, the first being 0.
const PROVIDER_TRY: u8 = 3;

/// A block that is wanted by pull.
struct Want {
    block: BlockId,
    plays_in: Duration,
    n_tries: u8,
    since: Instant,
    /// Its provider went on without it.
    is_hole: bool,
}

impl Peer {
    /// What can wait for a moment goes with what pushes leave, when pulls have had their share already.
    pub(super) fn on_request(
        &mut self,
        from: PeerId,
        blocks: &[BlockId],
        within_ms: Option<u16>,
        now: Instant,
    ) {
        let backlog = self.backlog_before(from);
        let mut missing = Vec::new();
        for &block in blocks {
            let is_shut = self.config.uplink_limit.is_some_and(|limit| limit.0 == 0);
            let is_here = self.window.holds(block) && !is_shut && backlog < SERVE_BACKLOG;
            let len = self.window.part_of(block).map_or(0, |part| part.message_len(block.number));
            let will_be_pushed =
                self.uploads.child(from, block.number.stripe()).is_some() && !self.window.holds(block);
            let is_on_its_way = self.neighbours.get(from).is_some_and(|link| link.is_on_its_way(block, now));
            if will_be_pushed || is_on_its_way || self.pacer.hurry(from, Cargo::Block(block), now) {
                continue;
            }
            if is_here && self.pacer.admit_pull(len, now) {
                self.queue_block(from, block, Class::Repair, now);
            } else if is_here && within_ms.is_some() && self.pacer.starting_len() < SERVE_BACKLOG {
                self.queue_block(from, block, Class::Startup, now);
            } else {
                missing.push(block);
            }
        }
        // A busy server says nothing: word of that to all who ask would be most of what it sends.
        if !missing.is_empty() && self.config.role == Role::Viewer {
            self.send_control(from, Control::Missing { blocks: missing }, now);
        }
    }

    /// Bytes that wait before what is sent to a neighbour now: a viewer's links share its uplink, the server's wait for the
    /// viewers at their other ends.
    fn backlog_before(&self, peer: PeerId) -> usize {
        match self.config.role {
            Role::Viewer => self.neighbours.iter().map(|(_, link)| link.backlog).sum(),
            Role::Server => self.neighbours.get(peer).map_or(0, |link| link.backlog),
        }
    }

    /// The neighbour has these by now: they are not sent, not even when they come later.
    pub(super) fn on_cancel(&mut self, from: PeerId, blocks: &[BlockId]) {
        self.pacer.retain(|job| {
            let is_named = matches!(job.cargo, Cargo::Block(block) if blocks.contains(&block));
            job.to != from || !is_named
        });
        for block in blocks.iter().filter(|block| self.window.epoch() == Some(block.epoch)) {
            let index = self.window.index(block.track);
            if let (Some(index), Some(link)) = (index, self.neighbours.get_mut(from)) {
                link.has[index].insert(block.number.0);
            }
        }
    }

    /// A block came that others were asked for, or would push: they need not send it.
    pub(super) fn cancel_elsewhere(&mut self, from: PeerId, block: BlockId, before: Block, now: Instant) {
        let Block::Asked { of, .. } = before else { return };
        let pusher = self.stripes.lane(block.number.stripe()).provider.as_ref().map(|provider| provider.peer);
        let others = [Some(of), pusher.filter(|pusher| *pusher != of)];
        for other in others.into_iter().flatten().filter(|other| *other != from) {
            self.send_control(other, Control::Cancel { blocks: vec![block] }, now);
        }
    }

    pub(super) fn on_missing(&mut self, from: PeerId, blocks: &[BlockId], now: Instant) {
        for &block in blocks {
            let Some(index) = self.window.index(block.track) else { continue };
            if self.window.epoch() != Some(block.epoch) {
                continue;
            }
            if let Some(link) = self.neighbours.get_mut(from) {
                link.declined(index, block.number, now);
            }
            let track = &mut self.window.tracks_mut()[index];
            if let Block::Asked { of, since, n_tries, .. } = track.block(block.number)
                && of == from
            {
                track.set(block.number, Block::Missing { since: now, n_tries });
                self.forget_request(Block::Asked { of, expires_at: now, since, n_tries });
            }
        }
    }

    /// Asks for what is late.
    pub(super) fn repair(&mut self, now: Instant) {
        self.expire_requests(now);
        // What is on its way would come twice, and all of it later.
        if self.is_short() {
            return;
        }
        let mut wants = self.wants(now);
        wants.sort_by_key(|want| (want.plays_in, want.block));
        let n_open: u32 = self.neighbours.iter().map(|(_, link)| link.n_asked).sum();
        wants.truncate(OPEN_LIMIT.saturating_sub(n_open as usize));
        let mut requests: BTreeMap<PeerId, Vec<BlockId>> = BTreeMap::new();
        for want in wants {
            let Some(of) = self.source_for(&want, now) else { continue };
            self.mark_asked(&want, of, now);
            requests.entry(of).or_default().push(want.block);
        }
        for (of, blocks) in requests {
            for blocks in blocks.chunks(REQUEST_LIMIT) {
                self.send_control(of, Control::Request { blocks: blocks.to_vec(), within_ms: None }, now);
            }
        }
    }

    /// A request is over, however it ended.
    pub(super) fn forget_request(&mut self, before: Block) {
        if let Block::Asked { of, .. } = before
            && let Some(link) = self.neighbours.get_mut(of)
        {
            link.n_asked = link.n_asked.saturating_sub(1);
        }
    }

    /// What a lost link was asked for is missing again.
    pub(super) fn forget_asked(&mut self, peer: PeerId, now: Instant) {
        let is_over = |of: PeerId, _: Instant| of == peer;
        self.reset_requests(is_over);
        self.asked_descriptors.retain(|_, (of, again_at)| *of != peer && now < *again_at);
    }

    pub(super) fn expire_requests(&mut self, now: Instant) {
        self.reset_requests(|_, expires_at| expires_at <= now);
    }

    fn reset_requests(&mut self, is_over: impl Fn(PeerId, Instant) -> bool) {
        let mut over = Vec::new();
        for track in self.window.tracks_mut() {
            for number in track.open_numbers() {
                let block = track.block(number);
                if let Block::Asked { of, expires_at, since, n_tries } = block
                    && is_over(of, expires_at)
                {
                    track.set(number, Block::Missing { since, n_tries });
                    over.push(block);
                }
            }
        }
        for block in over {
            self.forget_request(block);
        }
    }

    /// The missing blocks that push should have brought.
    fn wants(&self, now: Instant) -> Vec<Want> {
        let mut wants = Vec::new();
        let in_need = Stripe::all().map(|stripe| self.needs_provider(stripe, now)).collect::<Vec<_>>();
        let is_joining = self.playhead.position(now).is_none();
        for (index, track) in self.window.tracks().iter().enumerate() {
            if !self.is_repaired(track.facts.id) {
                continue;
            }
            let begun = track.next.or_else(|| self.awaited(track, now));
            let Some(next) = begun.or_else(|| self.join_sequence(track, now)) else { continue };
            for part in track.parts_from(next) {
                if !is_joining && self.plays_at(part, now).is_some_and(|at| now.since(at) > GIVE_UP) {
                    continue;
                }
                let plays_in = self.plays_in(part, now);
                for number in part.first_block.0..part.end_block().unwrap_or(part.first_block.0) {
                    let Block::Missing { since, n_tries } = track.block(BlockNumber(number)) else {
                        continue;
                    };
                    let is_orphan = in_need[BlockNumber(number).stripe().index()];
                    let is_hole = n_tries == 0 && !is_joining && self.is_hole(index, BlockNumber(number));
                    // Pulling early only makes the block come twice: paths differ by a second.
                    let margin = match (is_orphan, is_joining) {
                        (true, true) => JOIN_ORPHAN_MARGIN,
                        (true, false) => ORPHAN_MARGIN,
                        (false, _) => JOIN_MARGIN,
                    };
                    let margin = if n_tries > 0 { RETRY_MARGIN * (1 << n_tries.min(4)) } else { margin };
                    let is_late = (is_orphan || is_joining || n_tries > 0) && now.since(since) > margin;
                    let is_urgent = !is_joining
                        && begun.is_some()
                        && n_tries == 0
                        && plays_in < URGENT
                        && now.since(since) > SPREAD;
                    if is_late || is_urgent || is_hole {
                        let block = BlockId {
                            epoch: part.id.epoch,
                            track: part.id.track,
                            number: BlockNumber(number),
                        };
                        wants.push(Want { block, plays_in, n_tries, since, is_hole });
                    }
                }
            }
        }
        wants
    }

    /// Whether the provider of its stripe pushed a newer block of the track: then it will not push this one.
    fn is_hole(&self, track: usize, number: BlockNumber) -> bool {
        let provider = self.stripes.lane(number.stripe()).provider.as_ref();
        provider.is_some_and(|provider| provider.pushed_to.get(track).is_some_and(|to| number.0 < *to))
    }

    /// Time until the part must be appended.
    fn plays_in(&self, part: &PartFacts, now: Instant) -> Duration {
        let plays_at = self.plays_at(part, now).unwrap_or(now);
        plays_at.since(now).saturating_sub(APPEND_MARGIN)
    }

    /// A neighbour that has it and is not busy; the server when time runs out; now and then the provider.
    fn source_for(&mut self, want: &Want, now: Instant) -> Option<PeerId> {
        let index = self.window.index(want.block.track)?;
        let stripe = want.block.number.stripe();
        let lane = self.stripes.lane(stripe);
        let provider = lane.provider.as_ref().map(|provider| provider.peer);
        // Neither a busy server nor busy neighbours may ever answer, while the provider has it by now.
        if want.is_hole || want.n_tries % 4 == PROVIDER_TRY {
            return provider;
        }
        let is_orphan = self.needs_provider(stripe, now);
        let is_its_provider = lane.provider_is(PeerId::SERVER);
        let resort = if is_orphan || is_its_provider { ORPHAN_RESORT } else { LAST_RESORT };
        let is_last_resort = want.plays_in < resort;
        let server = self.neighbours.get(PeerId::SERVER).filter(|link| link.is_greeted);
        let is_server_free = server.is_some_and(|link| link.n_asked < SERVER_ASK_LIMIT);
        let age = self.window.part_of(want.block).and_then(|part| self.age_of(part, now));
        let able = self.neighbours.iter().filter(|(peer, link)| {
            !peer.is_server()
                && link.is_greeted
                && link.n_asked < ASK_LIMIT
                && link.busy_until <= now
                && link.may_hold(index, want.block, age)
        });
        let able: Vec<(u32, PeerId)> = able.map(|(peer, link)| (link.n_asked, peer)).collect();
        let able: Vec<(u32, PeerId)> = able
            .into_iter()
            .filter(|(_, peer)| self.may_bring_media(*peer) && !self.is_silent(*peer, now))
            .collect();
        if is_server_free && is_last_resort && (able.is_empty() || want.plays_in < LAST_RESORT) {
            return Some(PeerId::SERVER);
        }
        let scored = able.into_iter().map(|(n_asked, peer)| {
            let rtt =
                self.neighbours.get(peer).map_or(Duration::ZERO, crate::neighbours::Neighbour::rtt_or_guess);
            let jitter = Duration::from_micros(self.random_below(50_000));
            (rtt * (n_asked + 1) + jitter, peer)
        });
        scored.min().map(|(_, peer)| peer)
    }

    fn mark_asked(&mut self, want: &Want, of: PeerId, now: Instant) {
        let Some(link) = self.neighbours.get_mut(of) else { return };
        link.n_asked += 1;
        let patience = (link.rtt_or_guess() * 2 + PATIENCE_MIN).min(PATIENCE_MAX);
        self.counts.n_requested += 1;
        let block = want.block;
        let n_tries = want.n_tries.saturating_add(1);
        let asked = Block::Asked { of, expires_at: now + patience, since: want.since, n_tries };
        if let Some(track) = self.window.track_mut(block.epoch, block.track) {
            track.set(block.number, asked);
        }
        let is_late_push = want.n_tries == 0;
        let lane = self.stripes.lane_mut(block.number.stripe());
        if let Some(provider) = lane.provider.as_mut()
            && is_late_push
            && now.since(provider.since) > CATCH_UP
        {
            provider.n_overdue += 1;
        }
    }
}
