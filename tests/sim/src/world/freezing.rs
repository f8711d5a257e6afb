//! Tabs whose main thread is busy: nothing is handled until it is free again, then everything that came.

use cardume_wire::PeerId;

use super::{Event, World, index_of};
use crate::broadcast::micros;

impl World {
    /// Arms a viewer's next freeze, when it is one to whom that happens.
    pub(super) fn schedule_freeze(&mut self, id: PeerId) {
        let Some(freezes) = &self.scenario.freezes else { return };
        if self.population().freezes(id) {
            let interval = micros(freezes.interval);
            let wait = self.exponential(interval);
            self.schedule(self.now + wait, Event::Freeze(id));
        }
    }

    pub(super) fn freeze(&mut self, id: PeerId) {
        let Some(freezes) = &self.scenario.freezes else { return };
        let (min, max) = (micros(freezes.min), micros(freezes.max));
        let length = min + self.below(max - min + 1);
        let until = self.now + length;
        if let Some(node) = self.live(id) {
            node.frozen_until = until;
            self.schedule_freeze(id);
        }
    }

    /// When what is to happen now can happen, if not now: its viewer is frozen.
    pub(super) fn thaws_at(&self, event: &Event) -> Option<u64> {
        self.scenario.freezes.as_ref()?;
        let until = |id: PeerId| self.nodes.get(index_of(id)).map_or(0, |node| node.frozen_until);
        let until = match event {
            Event::Timer(id) | Event::PlayerTick(id) | Event::Clock(id) | Event::Seek(id) => until(*id),
            Event::Arrive(packet) => until(packet.to),
            Event::OpenLink(a, b) => until(*a).max(until(*b)),
            Event::ConnectFailed(at, _) | Event::LinkClosed { at, .. } | Event::Suggest(at, _) => until(*at),
            _ => 0,
        };
        (until > self.now).then_some(until)
    }
}
