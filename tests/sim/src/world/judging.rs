//! What is counted when something happens to a viewer.

use cardume_wire::{BlockId, PeerId};

use super::{World, index_of};
use crate::What;
use crate::broadcast::micros;
use crate::library::Published;
use crate::store::Deadlines;

/// A swarm that lost many must be itself again so long after, microseconds; goal 4 of the overlay's design.
const RECOVERY: u64 = 5_000_000;
/// It is judged for so long, microseconds: long enough that 1 % of the blocks is more than one block.
const RECOVERED_FOR: u64 = 5_000_000;

impl World {
    /// Counts the blocks whose deadline has passed, if the viewer has started.
    pub(super) fn judge(&mut self, id: PeerId) {
        // A film has no deadlines but the playhead.
        if self.scenario.film.is_some() {
            return;
        }
        let latency = micros(self.scenario.stream.target_latency);
        let after_failure = self.after_failure.clone();
        let node = &mut self.nodes[index_of(id)];
        let Some(from) = node.player.started_at() else { return };
        let began_us = node.player.began_us();
        let (due, due_after_failure, measures) =
            (&mut node.due, &mut node.due_after_failure, &mut self.measures);
        let deadlines = Deadlines { latency, from, until: self.now, began_us };
        node.store.judge(&self.library, deadlines, &node.shown, |deadline, n_due, n_on_time| {
            due.add(n_due, n_on_time);
            if after_failure.as_ref().is_some_and(|stretch| stretch.contains(&deadline)) {
                due_after_failure.add(n_due, n_on_time);
            }
            let second = measures.second(deadline);
            second.n_due += u64::from(n_due);
            second.n_on_time += u64::from(n_on_time);
        });
    }

    /// When the survivors of the first mass death are judged: from [`RECOVERY`] after it.
    pub(super) fn note_failures(&mut self) {
        let deadly = self.scenario.incidents.iter().filter(|incident| incident.what == What::Die);
        let end = |incident: &crate::Incident| {
            micros(incident.at) + micros(incident.interval) * incident.n.unwrap_or(0) as u64
        };
        self.after_failure = deadly.map(end).min().map(|end| end + RECOVERY..end + RECOVERY + RECOVERED_FOR);
    }

    /// A block came that the viewer did not have.
    pub(super) fn note_block(&mut self, from: PeerId, to: PeerId, block: BlockId, published: &Published) {
        let now = self.now;
        let node = &mut self.nodes[index_of(to)];
        if node.player.started_at().is_some_and(|at| at < now) {
            self.measures.delays.add(now - published.at);
        }
        if node.orphaned.is_empty() {
            return;
        }
        let stripe = block.number.stripe();
        let gaps = &mut self.measures.gaps;
        node.orphaned.retain(|orphaned| {
            let is_over = orphaned.stripe == stripe && orphaned.dead != from;
            if is_over {
                gaps.add(now - orphaned.at);
            }
            !is_over
        });
    }
}
