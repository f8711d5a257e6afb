//! Who pushes each stripe to us, and who is about to.

use core::time::Duration;
use std::collections::BTreeMap;

use cardume_wire::link::{HAVE_TRACK_LIMIT, PATH_LIMIT, UNKNOWN_AGE};
use cardume_wire::{PeerId, STRIPE_COUNT, Stripe, TrackSet};

use crate::uploads::RELEASE_GRACE;
use crate::{Instant, PathStats};

/// A neighbour that has not answered a subscription by then will not. Three long round trips.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A successor that accepted but sent nothing by then is no better than what we have.
const DELIVERY_LIMIT: Duration = Duration::from_millis(1500);
/// Peers remembered as having refused, per stripe, at most: more than there are neighbours.
const REFUSAL_LIMIT: usize = 32;
/// Age of a stripe to tell while there is no clock to measure it by.
const AGE_GUESS: Duration = Duration::from_secs(1);
/// Hints remembered per stripe, at most.
const HINT_LIMIT: usize = 4;
/// A hint holds for so long: by then the connection stands or does not come about.
const HINT_TIME: Duration = Duration::from_millis(1500);
/// Overdue blocks in a row after which a provider is no good.
const STREAK_LIMIT: u32 = 3;

/// Who pushes a stripe.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) peer: PeerId,
    pub(crate) since: Instant,
    /// Whom the stripe comes through, the provider last; empty from the server.
    pub(crate) path: Vec<PeerId>,
    /// From capture to arrival, smoothed.
    pub(crate) age: Option<Duration>,
    /// When it told us to look elsewhere.
    pub(crate) leaving_since: Option<Instant>,
    /// Whether it, or who was there before it, sent us the newest there is.
    pub(crate) is_current: bool,
    /// Blocks in a row that did not come from it in time.
    pub(crate) n_overdue: u32,
    /// Of each track of the catalog, one more than the newest block that it pushed: it sends in order, so what is missing
    /// before will not come by itself.
    pub(crate) pushed_to: [u32; HAVE_TRACK_LIMIT],
}

/// Who is asked to push a stripe.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    pub(crate) peer: PeerId,
    pub(crate) asked_at: Instant,
    /// When it accepted, and the path.
    pub(crate) accepted: Option<(Instant, Vec<PeerId>)>,
}

/// One stripe of ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) provider: Option<Provider>,
    pub(crate) successor: Option<Successor>,
    /// Whom not to ask again before when.
    refusals: BTreeMap<PeerId, Instant>,
    /// Those named to us as having room for us, and when.
    hints: Vec<(PeerId, Instant)>,
    /// Since when nobody pushes it.
    pub(crate) starving_since: Option<Instant>,
    /// When to look for a better provider.
    pub(crate) improve_at: Instant,
    /// How often in a row the server knew of nothing better.
    pub(crate) n_vain: u32,
}

/// All stripes of ours, of some tracks.
#[derive(Clone, Debug)]
pub(crate) struct Stripes {
    /// What is pushed to us in each of them.
    pub(crate) tracks: TrackSet,
    lanes: [Lane; STRIPE_COUNT as usize],
}

impl Stripes {
    /// Stripes of these tracks, pushed by nobody yet.
    pub(crate) fn new(tracks: TrackSet) -> Self {
        Self { tracks, lanes: Default::default() }
    }

    /// Whether this peer pushes the stripe, or was asked to.
    pub(crate) fn names(&self, peer: PeerId, stripe: Stripe) -> bool {
        self.lane(stripe).provider_is(peer) || self.lane(stripe).successor_is(peer)
    }

    /// The peer is gone.
    pub(crate) fn drop_peer(&mut self, peer: PeerId) {
        for lane in &mut self.lanes {
            lane.drop_peer(peer);
        }
    }

    pub(crate) fn lane(&self, stripe: Stripe) -> &Lane {
        &self.lanes[stripe.index()]
    }

    pub(crate) fn lane_mut(&mut self, stripe: Stripe) -> &mut Lane {
        &mut self.lanes[stripe.index()]
    }

    /// Stripes that this peer pushes to us.
    pub(crate) fn provided_by(&self, peer: PeerId) -> Vec<Stripe> {
        Stripe::all().filter(|stripe| self.lane(*stripe).provider_is(peer)).collect()
    }

    /// How each stripe comes to us.
    pub(crate) fn paths(&self) -> Vec<PathStats> {
        let providers =
            Stripe::all().filter_map(|stripe| Some((stripe, self.lane(stripe).provider.as_ref()?)));
        let stats = providers.map(|(stripe, provider)| PathStats {
            stripe,
            provider: provider.peer,
            depth: provider.path.len(),
            age: provider.age,
        });
        stats.collect()
    }

    /// What [`cardume_wire::link::Control::Status`] says of the ages.
    pub(crate) fn ages(&self) -> [u16; STRIPE_COUNT as usize] {
        core::array::from_fn(|index| {
            let provider = self.lanes[index].provider.as_ref().filter(|provider| provider.is_current);
            let age = provider.map(|provider| provider.age.unwrap_or(AGE_GUESS));
            let millis = age.map(|age| u16::try_from(age.as_millis()).unwrap_or(UNKNOWN_AGE - 1));
            millis.map_or(UNKNOWN_AGE, |millis| millis.min(UNKNOWN_AGE - 1))
        })
    }
}

impl Lane {
    pub(crate) fn provider_is(&self, peer: PeerId) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider.peer == peer)
    }

    pub(crate) fn successor_is(&self, peer: PeerId) -> bool {
        self.successor.as_ref().is_some_and(|successor| successor.peer == peer)
    }

    /// Whether the stripe needs another provider now.
    pub(crate) fn is_in_need(&self) -> bool {
        self.provider
            .as_ref()
            .is_none_or(|provider| provider.leaving_since.is_some() || provider.n_overdue >= STREAK_LIMIT)
    }

    /// Who told us to look elsewhere pushes for a while, and then it is no provider any more.
    pub(crate) fn drop_left(&mut self, now: Instant) {
        let has_left = |provider: &Provider| {
            provider.leaving_since.is_some_and(|since| now.since(since) > RELEASE_GRACE)
        };
        self.provider.take_if(|provider| has_left(provider));
    }

    /// Whether the stripe has been in need of a provider for so long.
    pub(crate) fn starves_since_before(&self, now: Instant, limit: Duration) -> bool {
        self.starving_since.is_some_and(|since| now.since(since) >= limit)
    }

    /// Whether we get the stripe as new as there is: who does not should feed nobody yet.
    pub(crate) fn is_current(&self) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider.is_current)
    }

    /// The path we would tell a child; `None` when we cannot feed anyone.
    pub(crate) fn path_with(&self, own: PeerId) -> Option<Vec<PeerId>> {
        let provider = self.provider.as_ref()?;
        let mut path = provider.path.clone();
        path.push(own);
        (path.len() <= PATH_LIMIT).then_some(path)
    }

    /// A peer is not to be asked again before then.
    pub(crate) fn refuse(&mut self, peer: PeerId, until: Instant) {
        self.unhint(peer);
        if self.refusals.len() >= REFUSAL_LIMIT {
            let soonest = self.refusals.iter().min_by_key(|(_, at)| **at).map(|(&peer, _)| peer);
            soonest.map(|soonest| self.refusals.remove(&soonest));
        }
        self.refusals.insert(peer, until);
    }

    /// Somebody says that this peer has room for us.
    pub(crate) fn hint(&mut self, peer: PeerId, now: Instant) {
        self.hints.retain(|(hinted, at)| *hinted != peer && now.since(*at) < HINT_TIME);
        if self.hints.len() < HINT_LIMIT {
            self.hints.push((peer, now));
        }
        self.forgive(peer);
    }

    /// Those named to us lately, the latest last.
    pub(crate) fn hinted(&self, now: Instant) -> impl Iterator<Item = PeerId> {
        self.hints.iter().filter(move |(_, at)| now.since(*at) < HINT_TIME).map(|(peer, _)| *peer)
    }

    /// Nobody is sent to this peer any more.
    pub(crate) fn unhint(&mut self, peer: PeerId) {
        self.hints.retain(|(hinted, _)| *hinted != peer);
    }

    /// The peer may be asked again.
    pub(crate) fn forgive(&mut self, peer: PeerId) {
        self.refusals.remove(&peer);
    }

    pub(crate) fn is_refused(&self, peer: PeerId, now: Instant) -> bool {
        self.refusals.get(&peer).is_some_and(|until| now < *until)
    }

    /// The successor takes over; returns whom to tell that it is no longer needed.
    pub(crate) fn promote(&mut self, now: Instant) -> Option<PeerId> {
        let successor = self.successor.take()?;
        let (_, path) = successor.accepted?;
        let provider = Provider {
            peer: successor.peer,
            since: now,
            path,
            age: None,
            leaving_since: None,
            is_current: self.is_current(),
            n_overdue: 0,
            pushed_to: [0; HAVE_TRACK_LIMIT],
        };
        self.starving_since = None;
        self.n_vain = 0;
        let old = self.provider.replace(provider)?;
        (old.peer != successor.peer).then_some(old.peer)
    }

    /// Gives up on a successor that took too long, by more than this; returns it, to be unsubscribed from.
    pub(crate) fn expire(&mut self, now: Instant, slack: Duration) -> Option<PeerId> {
        let successor = self.successor.as_ref()?;
        let is_late = match successor.accepted {
            None => now.since(successor.asked_at) > ANSWER_LIMIT + slack,
            Some((at, _)) => now.since(at) > DELIVERY_LIMIT + slack,
        };
        if !is_late {
            return None;
        }
        self.successor.take().map(|successor| successor.peer)
    }

    /// The stripe is not wanted any more; returns those who push it, or were asked to.
    pub(crate) fn clear(&mut self) -> Vec<PeerId> {
        let provider = self.provider.take().map(|provider| provider.peer);
        let successor = self.successor.take().map(|successor| successor.peer);
        self.hints.clear();
        self.starving_since = None;
        provider.into_iter().chain(successor).collect()
    }

    /// The peer is gone.
    pub(crate) fn drop_peer(&mut self, peer: PeerId) {
        if self.provider_is(peer) {
            self.provider = None;
        }
        if self.successor_is(peer) {
            self.successor = None;
        }
        self.refusals.remove(&peer);
        self.unhint(peer);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::new(7);

    fn hinted(lane: &Lane, at_ms: u64) -> Vec<PeerId> {
        lane.hinted(Instant::from_micros(at_ms * 1000)).collect()
    }

    #[test]
    fn a_hint_holds_until_it_is_old_or_the_named_one_refuses() {
        let now = Instant::default();
        let mut lane = Lane::default();
        lane.hint(PEER, now);
        assert_eq!(hinted(&lane, 1_000), [PEER]);
        assert_eq!(hinted(&lane, 2_000), []);
        lane.hint(PEER, now);
        lane.refuse(PEER, now + Duration::from_secs(1));
        assert_eq!(hinted(&lane, 1_000), []);
    }

    #[test]
    fn a_hint_lets_who_refused_before_be_asked_again() {
        let now = Instant::default();
        let mut lane = Lane::default();
        lane.refuse(PEER, now + Duration::from_secs(1));
        lane.hint(PEER, now);
        assert!(!lane.is_refused(PEER, now));
    }
}
