//! To whom those are sent that we do not feed.

use cardume_wire::link::{Control, HINT_LIMIT};
use cardume_wire::{PeerId, Stripe, TrackSet};
use rand_chacha::rand_core::Rng;

use super::Peer;
use super::admission::Ask;
use super::status::AGE_STEP;
use crate::directory::Search;
use crate::uploads::Claim;
use crate::{Instant, Role};

impl Peer {
    pub(super) fn refuse(&mut self, peer: PeerId, stripe: Stripe, tracks: TrackSet, now: Instant) {
        let hints = self.hints(peer, stripe, tracks, &[]);
        self.send_control(peer, Control::Refuse { stripe, hints }, now);
    }

    /// The server sends whom it cannot take where there is room; who is fed already, only to shorter paths.
    pub(super) fn refuse_asker(&mut self, peer: PeerId, ask: Ask, now: Instant) {
        if self.config.role == Role::Viewer {
            self.refuse(peer, ask.stripe, ask.tracks, now);
            return;
        }
        let own_age = self.neighbours.get(peer).and_then(|link| Some(link.status?.ages[ask.stripe.index()]));
        let age_limit = match own_age {
            Some(age) if !ask.is_starving && ask.from_us.is_none() => age.saturating_sub(AGE_STEP),
            _ => u16::MAX,
        };
        // Who is fed already takes nobody's place for a shorter path, unless all below it gain by that.
        let claim = match ask.claim {
            Claim::Contributes if !ask.is_starving => Claim::Idle,
            claim => claim,
        };
        let search = Search { asker: peer, stripe: ask.stripe, tracks: ask.tracks, claim, age_limit };
        let hints = self.search(search, now).into_iter().collect();
        self.send_control(peer, Control::Refuse { stripe: ask.stripe, hints }, now);
    }

    /// Those who may take the asker: named ones, then children with room, then other neighbours with room, then
    /// any child.
    pub(super) fn hints(
        &self,
        asker: PeerId,
        stripe: Stripe,
        tracks: TrackSet,
        first: &[PeerId],
    ) -> Vec<PeerId> {
        let has_room = |peer: PeerId| {
            let link = self.neighbours.get(peer);
            link.is_some_and(|link| {
                link.age(stripe).is_some()
                    && link.gets(tracks)
                    && link.status.is_some_and(|status| status.free > 0)
            })
        };
        let children = || self.uploads.children(stripe).filter(|(_, child)| child.tracks.includes(tracks));
        let said: Vec<(Claim, u16, PeerId)> =
            children().map(|(peer, child)| (child.claim, child.slots, peer)).collect();
        let mut able = said;
        able.sort_unstable_by(|a, b| b.cmp(a));
        let roomy = self.neighbours.iter().map(|(peer, _)| peer).filter(|peer| has_room(*peer));
        let mut hints: Vec<PeerId> = first.to_vec();
        hints.extend(able.iter().map(|(_, _, peer)| *peer).filter(|peer| has_room(*peer)));
        hints.extend(roomy);
        // With a server to ask there are better ways than down the tree.
        if self.neighbours.get(PeerId::SERVER).is_none() {
            hints.extend(able.iter().filter(|(claim, ..)| *claim == Claim::Feeds).map(|(_, _, peer)| *peer));
        }
        let mut unique: Vec<PeerId> = Vec::new();
        for hint in hints {
            if hint != asker && !hint.is_server() && !unique.contains(&hint) {
                unique.push(hint);
            }
        }
        unique.truncate(HINT_LIMIT);
        unique
    }

    /// Who has room for the asker; when nobody has, it is told as soon as somebody does.
    pub(super) fn search(&mut self, search: Search, now: Instant) -> Option<PeerId> {
        let (directory, rng) = (&mut self.directory, &mut self.rng);
        let found = directory.suggest(search, now, |n| rng.next_u64() % n);
        if found.is_none() && search.age_limit == u16::MAX {
            directory.wait(search, now);
        }
        found
    }

    /// A viewer said how much room it has: those who wait for it are told.
    pub(super) fn relieve(&mut self, peer: PeerId, now: Instant) {
        for search in self.directory.relieve(peer, now) {
            let refuse = Control::Refuse { stripe: search.stripe, hints: vec![peer] };
            self.send_control(search.asker, refuse, now);
        }
    }
}
