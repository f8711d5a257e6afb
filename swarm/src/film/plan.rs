//! What to ask of whom, now.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::{BlockId, BlockNumber, PeerId};

use super::{Block, Film, MEMORY};
use crate::{Instant, PartFacts};

/// What plays within this is fetched in order, microseconds: some tries on a slow link.
pub(crate) const URGENT: u64 = 8_000_000;
/// Nothing beyond this is fetched, microseconds: enough to bear a minute without the swarm, little to waste on who leaves.
pub(crate) const LOOK_AHEAD: u64 = 60_000_000;
/// Blocks asked for at a time of all together: 1 MiB, some seconds of a film.
const OPEN_LIMIT: u32 = 64;
/// Of these, those that do not play soon.
const SPARE_LIMIT: u32 = 32;
/// Blocks asked of the server at a time, by who has no neighbours.
const SERVER_ASK_LIMIT: u32 = 16;
/// The same by who has some: they ask for others, and give what they get to each other.
const SERVER_SHARE: u32 = 4;
/// Latest time before its playout at which the server is asked for what neighbours hold, but are too busy for.
const BUSY_RESORT: Duration = Duration::from_millis(1200);
/// The same for what no neighbour holds.
const ALONE_RESORT: Duration = Duration::from_secs(2);
/// Each asks so much earlier at most, few of them much: what these get, their neighbours need not ask for. All at once
/// would ask the server for the same (simulator, `vod-flash`: 33 copies of a part of sound).
const RESORT_SPREAD: Duration = Duration::from_secs(5);
/// Who would take longer than this for what is needed now is not waited for, while the server can be asked.
const NEED_PATIENCE: Duration = Duration::from_millis(600);
/// An answer may take this much longer than twice what is expected, before somebody else is asked.
const PATIENCE: Duration = Duration::from_millis(400);
/// The same for what does not play soon: it waits behind what others need.
const SPARE_PATIENCE: Duration = Duration::from_secs(4);
/// What is needed soon may wait behind others' needs for this long at most.
const URGENT_WITHIN: Duration = Duration::from_millis(500);
/// What does not play soon may wait for this long.
pub(crate) const SPARE_WITHIN: Duration = Duration::from_secs(3);

/// When and where plans are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// The playhead on the media timeline, microseconds.
    pub(crate) position_us: u64,
}

/// Round trips to those who answer.
pub(crate) type Reach = BTreeMap<PeerId, Duration>;

/// What to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Blocks that are not wanted any more of those who were asked.
    pub(crate) cancels: Vec<(PeerId, BlockId)>,
    /// Whom to ask for the list of block hashes of the part with this block.
    pub(crate) lists: Vec<(PeerId, BlockId)>,
    /// Whom to ask for a block, which may wait for so long.
    pub(crate) requests: Vec<(PeerId, BlockId, Duration)>,
}

/// A part that is wanted.
#[derive(Clone, Copy, Debug)]
struct Want {
    place: usize,
    part: PartFacts,
    /// Time until it must be there; what is needed now has none.
    plays_in: Duration,
    is_urgent: bool,
    n_holders: usize,
    /// Whether the server may be asked for it though it does not play soon.
    may_seed: bool,
}

/// A block and who is asked for it.
#[derive(Clone, Copy, Debug)]
struct Pick {
    number: BlockNumber,
    of: PeerId,
    rtt: Duration,
}

impl Want {
    fn limit(&self) -> u32 {
        if self.is_urgent { OPEN_LIMIT } else { SPARE_LIMIT }
    }
}

impl Film {
    /// Asks for what is wanted of whom can give it.
    pub(crate) fn plan(&mut self, moment: &Moment, reach: &Reach) -> Orders {
        let mut orders = Orders::default();
        self.give_up(&mut orders, true, |_, _, _, expires_at| expires_at <= moment.now);
        let wants = self.wants(moment);
        // Who lacks what plays soon, or knows nobody to give it to, brings nothing into the swarm.
        let may_seed = reach.keys().any(|peer| !peer.is_server()) && wants.iter().all(|want| !want.is_urgent);
        for want in wants {
            let want = Want { may_seed, ..want };
            if self.n_asked() >= want.limit() {
                break;
            }
            self.ask_for(&want, moment, reach, &mut orders);
        }
        orders
    }

    /// The playhead went elsewhere: what is only wanted there is not asked for any more.
    pub(crate) fn abandon(&mut self, moment: &Moment) -> Orders {
        let mut orders = Orders::default();
        let wanted: Vec<(usize, u32)> =
            self.ahead(moment).map(|(place, part)| (place, part.id.sequence)).collect();
        self.give_up(&mut orders, false, |place, sequence, _, _| !wanted.contains(&(place, sequence)));
        self.reels_mut().iter_mut().for_each(|reel| reel.shelf.tidy());
        orders
    }

    /// Blocks that are asked for.
    pub(crate) fn n_asked(&self) -> u32 {
        self.sources.values().map(super::Source::n_asked).sum()
    }

    /// Requests that pass the test, of track, part, neighbour and end, are over.
    fn give_up(
        &mut self,
        orders: &mut Orders,
        is_late: bool,
        is_over: impl Fn(usize, u32, PeerId, Instant) -> bool,
    ) {
        for (place, reel) in self.reels.iter_mut().enumerate() {
            let over = reel.shelf.give_up_where(|sequence, of, at| is_over(place, sequence, of, at));
            for (of, number) in over {
                orders.cancels.push((of, BlockId { epoch: self.epoch, track: reel.track, number }));
                match self.sources.get_mut(&of) {
                    Some(source) if is_late => source.late(),
                    Some(source) => source.released(),
                    None => {}
                }
            }
        }
    }

    /// The parts from what the player is given next to as far as is looked ahead and fits into memory, by time.
    fn ahead(&self, moment: &Moment) -> impl Iterator<Item = (usize, PartFacts)> {
        let end = moment.position_us.saturating_add(LOOK_AHEAD);
        let parts =
            self.reels.iter().enumerate().filter_map(|(place, reel)| Some((place, reel, reel.given?)));
        let mut parts: Vec<(usize, PartFacts)> = parts
            .flat_map(|(place, reel, given)| {
                let parts = reel.parts_from(given.next).take_while(move |part| part.start_us < end);
                parts.map(move |part| (place, *part))
            })
            .collect();
        parts.sort_by_key(|(place, part)| (part.start_us, *place));
        let mut len = 0;
        parts.into_iter().take_while(move |(_, part)| {
            len += u64::from(part.len);
            len <= MEMORY / 4 * 3
        })
    }

    /// The parts that are not whole: what plays soon in order, then the rarest first.
    fn wants(&self, moment: &Moment) -> Vec<Want> {
        let lacking =
            self.ahead(moment).filter(|(place, part)| !self.reels[*place].shelf.is_whole(part.id.sequence));
        let mut wants: Vec<Want> = lacking
            .map(|(place, part)| {
                let plays_in = part.start_us.saturating_sub(moment.position_us);
                Want {
                    place,
                    part,
                    plays_in: Duration::from_micros(plays_in),
                    is_urgent: plays_in < URGENT,
                    n_holders: self.n_holders(place, part.id.sequence),
                    may_seed: false,
                }
            })
            .collect();
        // Stable: what is urgent stays in order of time.
        wants.sort_by_key(|want| {
            let lot = self.lot(want.place, want.part.id.sequence);
            if want.is_urgent { (false, 0, 0) } else { (true, want.n_holders, lot) }
        });
        wants
    }

    /// A number that is different for each viewer and part.
    fn lot(&self, place: usize, sequence: u32) -> u64 {
        let mixed =
            (self.salt ^ (u64::from(sequence) << 8 | place as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    }

    /// A part's blocks from one of them on that is another for each viewer: so that neighbours soon hold different ones,
    /// when nobody holds all.
    fn own_order(&self, want: &Want) -> impl Iterator<Item = BlockNumber> + use<> {
        let PartFacts { first_block, n_blocks, id, .. } = want.part;
        let n = u64::from(n_blocks);
        let from = self.lot(want.place, id.sequence) % n.max(1);
        let offsets = (0..n).filter_map(move |index| u32::try_from((from + index) % n).ok());
        offsets.map(move |offset| BlockNumber(first_block.0.saturating_add(offset)))
    }

    fn ask_for(&mut self, want: &Want, moment: &Moment, reach: &Reach, orders: &mut Orders) {
        let able = self.able(want, moment, reach);
        if able.is_empty() && !self.may_ask_server(want, moment, reach) {
            return;
        }
        let part = want.part;
        for number in self.own_order(want) {
            let Block::Missing { tried } = self.reels[want.place].shelf.block(&part, number) else {
                continue;
            };
            if self.n_asked() >= want.limit() {
                return;
            }
            let best = self.best(&able, want, (number, tried), moment);
            // Who was asked in vain may not have it any more.
            let is_slow = best.is_none_or(|(was_tried, expected, _)| {
                was_tried || expected > want.plays_in.max(NEED_PATIENCE)
            });
            let server = (is_slow && self.may_ask_server(want, moment, reach)).then_some(PeerId::SERVER);
            if let Some(of) = server.or(best.map(|(_, _, peer)| peer)) {
                let rtt = reach.get(&of).copied().unwrap_or_default();
                self.ask(want, Pick { number, of, rtt }, moment, orders);
            }
        }
    }

    /// Neighbours that hold all or some of a part and may be asked.
    fn able(&self, want: &Want, moment: &Moment, reach: &Reach) -> Vec<(PeerId, Duration)> {
        let Want { place, part, is_urgent, .. } = want;
        let blocks = part.first_block.0..part.end_block().unwrap_or(part.first_block.0);
        let viewers = reach.iter().filter(|(peer, _)| !peer.is_server());
        let able = viewers.filter(|(peer, _)| {
            self.sources.get(peer).is_some_and(|source| {
                source.is_ready(*is_urgent, moment.now)
                    && (source.has_whole(*place, part.id.sequence) || source.has_any(*place, blocks.clone()))
            })
        });
        able.map(|(peer, rtt)| (*peer, *rtt)).collect()
    }

    /// Who would have the block here soonest, and when; rather not who was asked in vain.
    fn best(
        &self,
        able: &[(PeerId, Duration)],
        want: &Want,
        (number, tried): (BlockNumber, Option<PeerId>),
        moment: &Moment,
    ) -> Option<(bool, Duration, PeerId)> {
        let able = able.iter().filter_map(|(peer, rtt)| {
            let source = self.sources.get(peer)?;
            let has_it =
                source.has_whole(want.place, want.part.id.sequence) || source.has_block(want.place, number.0);
            let is_able = has_it && source.is_ready(want.is_urgent, moment.now);
            is_able.then(|| (tried == Some(*peer), source.expected(*rtt), *peer))
        });
        able.min()
    }

    fn ask(&mut self, want: &Want, pick: Pick, moment: &Moment, orders: &mut Orders) {
        let Pick { number, of, rtt } = pick;
        let block = BlockId { epoch: self.epoch, track: want.part.id.track, number };
        let source = self.source_mut(of);
        let patience = source.expected(rtt) * 2 + if want.is_urgent { PATIENCE } else { SPARE_PATIENCE };
        source.asked();
        let expires_at = moment.now + patience;
        let Some(open) = self.reels[want.place].shelf.open(&want.part) else { return };
        open.ask(number, Block::Asked { of, at: moment.now, expires_at });
        // The list of the part's block hashes comes with its first block.
        if open.lacks_list(moment.now) {
            open.list_asked = Some((of, expires_at));
            orders.lists.push((of, block));
        }
        let within = if want.is_urgent { (want.plays_in / 4).min(URGENT_WITHIN) } else { SPARE_WITHIN };
        orders.requests.push((of, block, within));
    }

    /// Whether the server is asked for what no neighbour can give in time.
    fn may_ask_server(&self, want: &Want, moment: &Moment, reach: &Reach) -> bool {
        let is_there = reach.contains_key(&PeerId::SERVER);
        let source = self.sources.get(&PeerId::SERVER);
        let n_asked = source.map_or(0, super::Source::n_asked);
        let limit = if reach.len() > 1 { SERVER_SHARE } else { SERVER_ASK_LIMIT };
        let is_free = source.is_none_or(|source| source.is_patient(moment.now)) && n_asked < limit;
        let resort = self.resort(want);
        // What nobody holds is brought into the swarm one part at a time.
        let is_seed = want.may_seed && want.n_holders == 0 && self.is_only_seed(want);
        is_there && is_free && (want.plays_in < resort || is_seed)
    }

    /// Time before its playout at which this viewer asks the server for a part.
    fn resort(&self, want: &Want) -> Duration {
        if want.n_holders > 0 {
            return BUSY_RESORT;
        }
        // The fourth power of an even share: one of twenty viewers asks in the first fifth of the spread.
        let share = self.lot(want.place, want.part.id.sequence) >> 48;
        let square = (share * share) >> 16;
        let fourth = (square * square) >> 16;
        ALONE_RESORT + RESORT_SPREAD * u32::try_from(fourth).unwrap_or(0) / (1 << 16)
    }

    /// Whether no other part is being asked of the server.
    fn is_only_seed(&self, want: &Want) -> bool {
        let n_of_server = self.sources.get(&PeerId::SERVER).map_or(0, super::Source::n_asked);
        let reel = &self.reels[want.place];
        let of_server = |block: &Block| matches!(block, Block::Asked { of, .. } if of.is_server());
        let blocks = (want.part.first_block.0..).take(want.part.n_blocks as usize).map(BlockNumber);
        let n_here = blocks.filter(|number| of_server(&reel.shelf.block(&want.part, *number))).count();
        n_of_server as usize == n_here
    }
}
