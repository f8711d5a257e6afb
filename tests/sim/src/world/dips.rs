//! Downlinks that are slower for a while.

use cardume_wire::PeerId;

use super::{Event, World};
use crate::broadcast::micros;

impl World {
    /// Arms a viewer's next dip, when it is one to whom that happens.
    pub(super) fn schedule_dip(&mut self, id: PeerId) {
        let Some(dips) = &self.scenario.access.dips else { return };
        if self.population().dips(id) {
            let interval = micros(dips.interval);
            let wait = self.exponential(interval);
            self.schedule(self.now + wait, Event::Dip { viewer: id, is_over: false });
        }
    }

    pub(super) fn dip(&mut self, id: PeerId, is_over: bool) {
        let Some(dips) = &self.scenario.access.dips else { return };
        let usual = self.population().downlink(id);
        let (dipped, length) = (dips.downlink.min(usual), micros(dips.length));
        let Some(node) = self.live(id) else { return };
        node.downlink.set_rate(if is_over { usual } else { dipped });
        if is_over {
            self.schedule_dip(id);
        } else {
            self.schedule(self.now + length, Event::Dip { viewer: id, is_over: true });
        }
    }
}
