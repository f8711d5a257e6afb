//! What goes out: control at once, media through the pacer.

use core::time::Duration;

use cardume_media::PartId;
use cardume_wire::link::{Control, Message};
use cardume_wire::{BlockId, PeerId};

use super::Peer;
use crate::pacer::{Cargo, Class, FRAME_LEN, Job, Turn};
use crate::{Instant, Outgoing, PartFacts, Role};

/// A link with more than this waiting takes no start-up media: control and pushes would wait behind it.
const STARTUP_BACKLOG: usize = 128 * 1024;
/// A pull is answered within this, or a busy uplink sends something else first.
const REPAIR_DUE: Duration = Duration::from_millis(200);
/// A push goes within this: the buffer of children bears it, and key frames of other children go first.
const PUSH_DUE: Duration = Duration::from_millis(800);
/// What a joiner begins with goes within this: half of a good start-up time.
const STARTUP_DUE: Duration = Duration::from_millis(400);
/// A link with more than this waiting takes no media at all: half a second of 6 Mbit/s.
pub(super) const BACKLOG_LIMIT: usize = 384 * 1024;

impl Peer {
    /// Control never waits.
    pub(super) fn send_control(&mut self, to: PeerId, control: Control, now: Instant) {
        if self.neighbours.get(to).is_none() {
            return;
        }
        let len = control_len(&control);
        self.pacer.charge(len, now);
        self.counts.control_sent_len += (len + FRAME_LEN) as u64;
        self.counts.egress_len += (len + FRAME_LEN) as u64;
        self.output_send(to, Outgoing::Control(control));
    }

    pub(super) fn queue_catalog(&mut self, to: PeerId, now: Instant) {
        let len = self.window.catalog_len();
        let due = self.due(Class::Repair, None, now);
        let epoch = self.window.epoch();
        if let Some(neighbour) = self.neighbours.get_mut(to) {
            neighbour.epoch = epoch;
        }
        self.queue(Job { to, cargo: Cargo::Catalog, class: Class::Repair, len, due }, now);
        self.queue_first_pages(to, now);
    }

    /// Lines up a descriptor that the neighbour does not have yet.
    pub(super) fn queue_descriptor(&mut self, to: PeerId, id: PartId, class: Class, now: Instant) {
        let Some(index) = self.window.index(id.track) else { return };
        let Some(part) = self.window.part(id) else { return };
        let (len, due) = (part.descriptor_len, self.due(class, Some(part), now));
        let Some(neighbour) = self.neighbours.get_mut(to) else { return };
        if neighbour.described[index].contains(id.sequence) && class != Class::Repair {
            return;
        }
        neighbour.described[index].insert(id.sequence);
        self.queue(Job { to, cargo: Cargo::Descriptor(id), class, len, due }, now);
    }

    /// Lines up a block that the neighbour does not have yet, or asks for.
    pub(super) fn queue_block(&mut self, to: PeerId, block: BlockId, class: Class, now: Instant) {
        let Some(index) = self.window.index(block.track) else { return };
        let Some(part) = self.window.part_of(block) else { return };
        let (len, due) = (part.message_len(block.number), self.due(class, Some(part), now));
        let Some(neighbour) = self.neighbours.get_mut(to) else { return };
        if class != Class::Repair && neighbour.has[index].contains(block.number.0) {
            return;
        }
        neighbour.has[index].insert(block.number.0);
        self.queue(Job { to, cargo: Cargo::Block(block), class, len, due }, now);
    }

    /// Sends what may go now.
    pub(super) fn send_due(&mut self, now: Instant) {
        loop {
            let neighbours = &self.neighbours;
            let may_start = |peer| neighbours.get(peer).is_none_or(|link| link.backlog < STARTUP_BACKLOG);
            match self.pacer.pop(now, may_start) {
                Some(Turn::Send(job)) => self.send_job(job, now),
                Some(Turn::Drop(job)) => self.drop_job(job, now),
                None => break,
            }
        }
        self.next_send_at = self.pacer.next_at().map(|at| at.max(now + Duration::from_micros(1)));
    }

    pub(super) fn queue(&mut self, job: Job, now: Instant) {
        let is_choked = self.neighbours.get(job.to).is_some_and(|link| link.backlog > BACKLOG_LIMIT);
        if is_choked || !self.pacer.push(job) {
            self.drop_job(job, now);
        }
    }

    /// When a message about this part should be gone. What a joiner needs first is due soon, what it needs later
    /// with its playout; pushes have some slack on a busy uplink, as none of them is on screen yet.
    fn due(&self, class: Class, part: Option<&PartFacts>, now: Instant) -> Instant {
        match class {
            Class::Repair => now + REPAIR_DUE,
            Class::Forward | Class::Push => now + PUSH_DUE,
            Class::Startup => {
                let plays_at =
                    part.zip(self.goal_us(now)).map(|(part, goal)| part.start_us.saturating_sub(goal));
                let latest = STARTUP_DUE + Duration::from_micros(plays_at.unwrap_or(0));
                now + latest.min(PUSH_DUE)
            }
        }
    }

    fn send_job(&mut self, job: Job, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(job.to) else { return };
        self.counts.egress_len += (job.len + FRAME_LEN) as u64;
        let message = match job.cargo {
            Cargo::Catalog => Outgoing::Catalog,
            Cargo::Descriptor(id) => Outgoing::Descriptor(id),
            Cargo::Index(page) => Outgoing::Index(page),
            Cargo::Block(block) => {
                neighbour.sent_len += job.len as u64;
                neighbour.note_sent(block, now);
                self.counts.sent_len += job.len as u64;
                Outgoing::Block(block)
            }
        };
        if self.has_cargo(job.cargo) {
            self.output_send(job.to, message);
        }
    }

    /// What was not sent after all: the neighbour does not have it from us.
    fn drop_job(&mut self, job: Job, now: Instant) {
        match job.cargo {
            Cargo::Block(block) if self.film.is_some() => {
                self.send_control(job.to, Control::Missing { blocks: vec![block] }, now);
            }
            Cargo::Block(block) => {
                let index = self.window.index(block.track);
                if let (Some(index), Some(link)) = (index, self.neighbours.get_mut(job.to)) {
                    link.has[index].remove(block.number.0);
                }
                if job.class == Class::Repair && self.config.role == Role::Viewer {
                    self.send_control(job.to, Control::Missing { blocks: vec![block] }, now);
                }
            }
            Cargo::Descriptor(id) => {
                let index = self.window.index(id.track);
                if let (Some(index), Some(link)) = (index, self.neighbours.get_mut(job.to)) {
                    link.described[index].remove(id.sequence);
                }
            }
            Cargo::Catalog => {
                if let Some(link) = self.neighbours.get_mut(job.to) {
                    link.epoch = None;
                }
            }
            Cargo::Index(_) => {}
        }
    }

    fn has_cargo(&self, cargo: Cargo) -> bool {
        let film = self.film.as_ref();
        match cargo {
            Cargo::Catalog => self.window.epoch().is_some(),
            Cargo::Index(page) => film.is_some_and(|film| film.page_len(page).is_some()),
            Cargo::Descriptor(id) => {
                film.map_or(self.window.part(id).is_some(), |film| film.is_described(id))
            }
            Cargo::Block(block) => film.map_or(self.window.holds(block), |film| film.holds(block)),
        }
    }
}

fn control_len(control: &Control) -> usize {
    Message::Control(control.clone()).encode().len()
}
