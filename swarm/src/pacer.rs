//! Media that waits for its turn on the uplink.

use core::time::Duration;
use std::collections::VecDeque;

use cardume_media::{PageId, PartId};
use cardume_wire::{BlockId, PeerId};

use crate::bucket::Bucket;
use crate::rolling::RollingLimit;
use crate::{BitsPerSec, Instant};

/// Bytes around a message on its way: WebSocket or SCTP framing and a share of the packets' headers.
/// A block in WebSocket frames over TLS costs about 10 + 22 bytes; packets' own headers are not ours to see.
pub(crate) const FRAME_LEN: usize = 32;
/// Messages that wait at most: 2 s of 40 viewers at 50 blocks a second.
const QUEUE_LIMIT: usize = 4096;
/// What an estimated uplink lets through at once: what it sends in this time, or this much. More would wait in the
/// socket, where nothing overtakes it.
const SOFT_TIME: Duration = Duration::from_millis(100);
/// See [`SOFT_TIME`].
const SOFT_BURST_MIN: usize = 4 * 1024;
/// Part of the limit that start-up media does not get even when pushes leave it, so that a key frame finds room: 1/10.
const PUSH_RESERVE: u64 = 10;
/// Pulls take at most this part of the limit: more would only move the lateness to those who are pushed to.
const PULL_SHARE: u64 = 8;
/// A message this late is given up: who wanted it has got it elsewhere, or plays on without it.
const LATE_LIMIT: Duration = Duration::from_secs(1);
/// An answer to a pull this late is given up: the asker's patience is over.
const REPAIR_LATE_LIMIT: Duration = Duration::from_millis(300);

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Pushed to a child that feeds others: all below it wait for it.
    Forward,
    /// Asked for because it is late elsewhere.
    Repair,
    /// Pushed to a child.
    Push,
    /// What a new child lacks of the window.
    Startup,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    Catalog,
    Descriptor(PartId),
    Index(PageId),
    Block(BlockId),
}

/// One message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) to: PeerId,
    pub(crate) cargo: Cargo,
    pub(crate) class: Class,
    /// Bytes of the message, without [`FRAME_LEN`].
    pub(crate) len: usize,
    /// When it should be gone; the earliest goes first.
    pub(crate) due: Instant,
}

/// What becomes of the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes now.
    Send(Job),
    /// It waited too long.
    Drop(Job),
}

/// Lets media pass, never beyond the limit: first what others wait for further down; then pulls, as they are urgent and
/// limited; then pushes, whose number is limited too; what is left takes start-up media. Within each, what is due first goes first.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// The limit that somebody set.
    hard: Option<RollingLimit>,
    /// What that leaves for start-up media, evenly: it would take at once what the next pushes need.
    spare: Option<Bucket>,
    /// What the uplink is thought to bear.
    soft: Option<Bucket>,
    /// By class and rising due time; equals in the order they came.
    queues: [VecDeque<Job>; 4],
    /// What pulls may take.
    pulls: Option<Bucket>,
    /// When the message whose turn it is may pass.
    next_at: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new(limit: Option<BitsPerSec>, burst: usize, now: Instant) -> Self {
        let mut pacer = Self {
            hard: None,
            spare: None,
            soft: None,
            queues: Default::default(),
            pulls: None,
            next_at: None,
        };
        pacer.set_limit(limit, burst, now);
        pacer
    }

    /// Another limit from now on; what waits goes on waiting.
    pub(crate) fn set_limit(&mut self, limit: Option<BitsPerSec>, burst: usize, now: Instant) {
        match (limit, &mut self.hard) {
            (Some(limit), Some(hard)) => hard.set_limit(limit),
            (limit, hard) => *hard = limit.map(RollingLimit::new),
        }
        let spare = self.hard.as_ref().map(RollingLimit::rate);
        let spare = spare.map(|rate| BitsPerSec(rate.0 - rate.0 / PUSH_RESERVE));
        self.spare = spare.map(|rate| Bucket::soft(rate, burst + FRAME_LEN, now));
        self.limit_pulls(burst, now);
    }

    /// Another estimate of what the uplink bears.
    pub(crate) fn set_estimate(&mut self, rate: BitsPerSec, burst: usize, now: Instant) {
        let soft_burst =
            usize::try_from(rate.bytes_in(SOFT_TIME)).unwrap_or(burst).clamp(SOFT_BURST_MIN, burst);
        match &mut self.soft {
            Some(soft) => soft.follow(rate, now),
            None => self.soft = Some(Bucket::soft(rate, soft_burst, now)),
        }
        self.limit_pulls(burst, now);
    }

    /// Whether a pull of this length is to be answered; then it counts against what pulls may take.
    pub(crate) fn admit_pull(&mut self, len: usize, now: Instant) -> bool {
        let is_idle = self.queues.iter().all(VecDeque::is_empty)
            && self.allows_at(Class::Repair, len + FRAME_LEN, now) == Some(now);
        let Some(pulls) = &mut self.pulls else { return true };
        if !is_idle && !pulls.allows(len, now) {
            return false;
        }
        pulls.take(len, now);
        true
    }

    /// What passes in the long run; `None` is no limit.
    pub(crate) fn rate(&self) -> Option<BitsPerSec> {
        let hard = self.hard.as_ref().map(RollingLimit::rate);
        hard.into_iter().chain(self.soft.as_ref().map(Bucket::rate)).min()
    }

    /// Whether control took less than one of so many parts of the limit in the last second.
    pub(crate) fn has_little_control(&self, n_parts: u64, now: Instant) -> bool {
        self.hard.as_ref().is_none_or(|hard| hard.control_len(now) * 8 * n_parts < hard.rate().0)
    }

    /// Lines a message up; false when too many wait.
    pub(crate) fn push(&mut self, job: Job) -> bool {
        let queue = &mut self.queues[job.class as usize];
        let has_room = queue.len() < QUEUE_LIMIT;
        if has_room {
            let place = queue.partition_point(|waiting| waiting.due <= job.due);
            queue.insert(place, job);
        }
        has_room
    }

    /// Moves a message that waits already nearer to its turn; false when none such waits.
    pub(crate) fn hurry(&mut self, to: PeerId, cargo: Cargo, due: Instant) -> bool {
        let is_it = |job: &Job| job.to == to && job.cargo == cargo;
        let [forwards, pulls, pushes, startup] = &mut self.queues;
        if pulls.iter().chain(forwards.iter()).chain(pushes.iter()).any(is_it) {
            return true;
        }
        let waiting = startup.iter().position(is_it).and_then(|index| startup.remove(index));
        waiting.is_some_and(|job| self.push(Job { due: job.due.min(due), ..job }))
    }

    /// Control went: it never waits, but what waits has to make up for it.
    pub(crate) fn charge(&mut self, len: usize, now: Instant) {
        if let Some(hard) = &mut self.hard {
            hard.take_control(len + FRAME_LEN, now);
        }
        self.smooth(len + FRAME_LEN, now);
    }

    /// The next message that goes or is given up; `None` when all others have to wait.
    /// `may_start` says whether a peer bears more start-up media now.
    pub(crate) fn pop(&mut self, now: Instant, may_start: impl Fn(PeerId) -> bool) -> Option<Turn> {
        self.next_at = None;
        for queue in &mut self.queues {
            if queue.front().is_some_and(|job| is_too_late(job, now)) {
                return queue.pop_front().map(Turn::Drop);
            }
        }
        // One slow joiner does not hold up the others.
        let is_ready = |job: &Job| job.class != Class::Startup || may_start(job.to);
        let class = self.queues.iter().position(|queue| !queue.is_empty())?;
        let index = self.queues[class].iter().position(is_ready)?;
        let len = self.queues[class].get(index)?.len + FRAME_LEN;
        let at = self.allows_at(self.queues[class].get(index)?.class, len, now);
        if at != Some(now) {
            // What can never pass leaves nothing to wait for.
            self.next_at = at;
            return None;
        }
        self.take(len, now);
        self.queues[class].remove(index).map(Turn::Send)
    }

    /// Whether something waits because no more may pass now.
    pub(crate) fn is_held_back(&self) -> bool {
        self.next_at.is_some()
    }

    /// When the next message may go, as the last [`Pacer::pop`] found; `None` when nothing waits for time alone.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Drops what does not pass the test.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        for queue in &mut self.queues {
            queue.retain(|job| keep(job));
        }
    }

    /// How late the next push is.
    pub(crate) fn lateness(&self, now: Instant) -> Duration {
        self.queues[Class::Push as usize].front().map_or(Duration::ZERO, |job| now.since(job.due))
    }

    /// Bytes that wait of what is not start-up media.
    pub(crate) fn waiting_len(&self) -> usize {
        let [forwards, pulls, pushes, _] = &self.queues;
        forwards.iter().chain(pulls).chain(pushes).map(|job| job.len + FRAME_LEN).sum()
    }

    /// Bytes of start-up media that wait.
    pub(crate) fn starting_len(&self) -> usize {
        self.queues[Class::Startup as usize].iter().map(|job| job.len + FRAME_LEN).sum()
    }

    /// When a message of so many bytes may go; `None` for never.
    fn allows_at(&mut self, class: Class, len: usize, now: Instant) -> Option<Instant> {
        let hard = self.hard.as_mut().map_or(Some(now), |hard| hard.allows_at(len, now))?;
        let spare = self.spare.as_mut().filter(|_| class == Class::Startup);
        spare.into_iter().chain(&mut self.soft).try_fold(hard, |latest, bucket| {
            let at = if bucket.allows(len, now) { now } else { bucket.allows_at(len)? };
            Some(latest.max(at))
        })
    }

    fn take(&mut self, len: usize, now: Instant) {
        if let Some(hard) = &mut self.hard {
            hard.take(len, now);
        }
        self.smooth(len, now);
    }

    fn smooth(&mut self, len: usize, now: Instant) {
        for bucket in self.spare.iter_mut().chain(&mut self.soft) {
            bucket.take(len, now);
        }
    }

    fn limit_pulls(&mut self, burst: usize, now: Instant) {
        let share = self.rate().map(|rate| BitsPerSec(rate.0 / PULL_SHARE));
        match (share, &mut self.pulls) {
            (Some(share), Some(pulls)) => pulls.follow(share, now),
            (share, pulls) => *pulls = share.map(|share| Bucket::soft(share, burst + FRAME_LEN, now)),
        }
    }
}

fn is_too_late(job: &Job, now: Instant) -> bool {
    let limit = if job.class == Class::Repair { REPAIR_LATE_LIMIT } else { LATE_LIMIT };
    now.since(job.due) > limit
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_leaves_nothing_to_wait_for() {
        let now = Instant::from_micros(1_000_000);
        let mut pacer = Pacer::new(Some(BitsPerSec(0)), 16_384, now);
        pacer.set_estimate(BitsPerSec(1_000_000), 16_384, now);
        pacer.charge(10, now);
        let part = PartId { epoch: cardume_wire::Epoch(1), track: cardume_wire::TrackId(0), sequence: 1 };
        let cargo = Cargo::Descriptor(part);
        assert!(pacer.push(Job { to: PeerId::new(2), cargo, len: 100, class: Class::Push, due: now }));
        assert!(pacer.pop(now, |_| true).is_none());
        assert_eq!(pacer.next_at(), None);
    }
}
