//! A film's parts to the player, from wherever the viewer goes.

use core::time::Duration;

use super::super::Peer;
use crate::film::Given;
use crate::time::micros;
use crate::{Instant, Output, PlayerState};

/// Parts are given to the player until so much lies ahead of the playhead, microseconds: what a `SourceBuffer` bears of
/// 10 Mbit/s.
const GIVE_AHEAD: u64 = 30_000_000;
/// A film that begins a little after 0, or has a gap, is begun, or gone on with, where there is media.
const GAP_LIMIT: Duration = Duration::from_secs(1);

impl Peer {
    pub(super) fn on_film_player(&mut self, state: &PlayerState, now: Instant) {
        self.playhead.set_player(state.clone(), now);
        self.follow(state, now);
        self.give(now);
        self.jump_gap(state);
    }

    /// Notices when the viewer went elsewhere: what was asked for where it was is not wanted any more.
    pub(super) fn follow(&mut self, state: &PlayerState, now: Instant) {
        let position = state.playhead_us;
        let is_empty = state.is_seeking && state.range_at(position).is_none();
        // The element threw away what lies here, unless it was given anew for this very seek.
        let is_lost = is_empty && self.sought != Some(position);
        self.sought = is_empty.then_some(position);
        let Some(film) = &mut self.film else { return };
        let is_elsewhere = film.reels().iter().any(|reel| !reel.is_given(position));
        if (is_lost || is_elsewhere) && self.enter(position) {
            let moment = self.moment(now);
            let orders = self.film.as_mut().map(|film| film.abandon(&moment)).unwrap_or_default();
            self.carry_out(orders, now);
            self.evict_film(now);
            self.plan_film(now);
        }
    }

    /// Goes on giving from here; false while the index of this place is not known.
    pub(super) fn enter(&mut self, position_us: u64) -> bool {
        let Some(film) = &mut self.film else { return false };
        for reel in film.reels_mut() {
            reel.given = reel.entry_at(position_us).map(|entry| Given { first: entry, next: entry });
        }
        film.reels().iter().all(|reel| reel.given.is_some())
    }

    /// Gives the player what is whole and next.
    pub(super) fn give(&mut self, now: Instant) {
        let end = self.moment(now).position_us.saturating_add(GIVE_AHEAD);
        let Some(film) = &mut self.film else { return };
        for reel in film.reels_mut() {
            while let Some(part) = reel.next_to_give(end) {
                self.outputs.push_back(Output::Deliver { part });
            }
        }
    }

    /// Forgets what does not fit.
    pub(super) fn evict_film(&mut self, now: Instant) {
        let moment = self.moment(now);
        let Some(film) = &mut self.film else { return };
        let gone = film.evict(&moment);
        self.outputs.extend(gone.into_iter().map(|part| Output::EvictPart { part }));
    }

    /// Moves the playhead on where the film itself has no media.
    fn jump_gap(&mut self, state: &PlayerState) {
        let position = state.playhead_us;
        let was_given = self.film.as_ref().is_some_and(|film| {
            film.reels().iter().all(|reel| reel.given.is_some_and(|given| given.next > given.first))
        });
        if state.range_at(position).is_some() || !was_given || state.is_paused {
            return;
        }
        let next = state.range_after(position).map(|(start, _)| start);
        if let Some(start) = next.filter(|start| start - position < micros(GAP_LIMIT)) {
            self.outputs.push_back(Output::Seek { to_us: start });
        }
    }
}
