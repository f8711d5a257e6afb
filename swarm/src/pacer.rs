//! Media that waits for its turn on the uplink.

use core::time::Duration;
use std::collections::VecDeque;

use cardume_media::PartId;
use cardume_wire::{BlockId, PeerId};

use crate::bucket::Bucket;
use crate::{BitsPerSec, Instant};

/// Bytes around a message on its way: WebSocket or SCTP framing and a share of the packets' headers.
/// 16 KiB in WebSocket frames over TLS cost about 10 + 22 bytes; packets' own headers are not ours to see.
pub(crate) const FRAME_LEN: usize = 32;
/// Messages that wait in one class at most: 2 s of 40 viewers at 50 blocks a second.
const QUEUE_LIMIT: usize = 4096;
/// Bytes that repair or start-up may be ahead of its share while pushes wait.
const CREDIT_LIMIT: i64 = 128 * 1024;

/// What a message is for; the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Asked for because it is late elsewhere.
    Repair,
    /// Pushed to a child of its stripe.
    Push,
    /// What a new child lacks of the window.
    Startup,
}

impl Class {
    /// How long a message is worth sending. Repair: an answer later than the asker's patience only repeats what it
    /// got elsewhere. Push and start-up: later than this the children have pulled it.
    const fn patience(self) -> Duration {
        Duration::from_millis(match self {
            Self::Repair => 500,
            Self::Push => 1200,
            Self::Startup => 2500,
        })
    }
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    Catalog,
    Descriptor(PartId),
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
    pub(crate) queued_at: Instant,
    /// Begin of its part on the media timeline: start-up media goes in this order, whichever stripe it is of.
    pub(crate) media_us: u64,
}

/// What becomes of the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes now.
    Send(Job),
    /// It waited too long.
    Drop(Job),
}

/// Lets media pass in the order of its urgency, never beyond the limit.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    bucket: Option<Bucket>,
    queues: [VecDeque<Job>; 3],
    repair_credit: i64,
    startup_credit: i64,
    /// When the message whose turn it is may pass.
    next_at: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new(limit: Option<BitsPerSec>, burst: usize, now: Instant) -> Self {
        let bucket = limit.map(|limit| Bucket::new(limit, burst + FRAME_LEN, now));
        Self { bucket, queues: Default::default(), repair_credit: CREDIT_LIMIT, startup_credit: 0, next_at: None }
    }

    /// Another limit from now on; what waits goes on waiting.
    pub(crate) fn set_limit(&mut self, limit: Option<BitsPerSec>, burst: usize, now: Instant) {
        self.bucket = limit.map(|limit| Bucket::new(limit, burst + FRAME_LEN, now));
    }

    /// What passes in the long run; `None` is no limit.
    pub(crate) fn rate(&self) -> Option<BitsPerSec> {
        self.bucket.as_ref().map(Bucket::rate)
    }

    /// Lines a message up; false when its class is full.
    pub(crate) fn push(&mut self, job: Job) -> bool {
        let queue = &mut self.queues[job.class as usize];
        if queue.len() >= QUEUE_LIMIT {
            return false;
        }
        let place = match job.class {
            Class::Startup => queue.partition_point(|waiting| waiting.media_us <= job.media_us),
            Class::Repair | Class::Push => queue.len(),
        };
        queue.insert(place, job);
        true
    }

    /// Control went: it never waits, but what waits has to make up for it.
    pub(crate) fn charge(&mut self, len: usize, now: Instant) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(len + FRAME_LEN, now);
        }
    }

    /// The next message that goes or is given up; `None` when all others have to wait.
    /// `may_start` says whether a peer bears more start-up media now.
    pub(crate) fn pop(&mut self, now: Instant, may_start: impl Fn(PeerId) -> bool) -> Option<Turn> {
        self.next_at = None;
        for queue in &mut self.queues {
            if queue.front().is_some_and(|job| now.since(job.queued_at) > job.class.patience()) {
                return queue.pop_front().map(Turn::Drop);
            }
        }
        let class = self.turn(may_start)?;
        let len = self.queues[class].front()?.len + FRAME_LEN;
        if let Some(bucket) = &mut self.bucket {
            if !bucket.allows(len, now) {
                self.next_at = bucket.allows_at(len);
                return None;
            }
            bucket.take(len, now);
        }
        let job = self.queues[class].pop_front()?;
        self.account(&job);
        Some(Turn::Send(job))
    }

    /// When the next message may go, as the last [`Pacer::pop`] found; `None` when nothing waits for time alone.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether start-up media waits for this peer.
    pub(crate) fn is_starting(&self, peer: PeerId) -> bool {
        self.queues[Class::Startup as usize].iter().any(|job| job.to == peer && job.media_us > 0)
    }

    /// Drops what waits for this peer and passes the test.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        for queue in &mut self.queues {
            queue.retain(|job| keep(job));
        }
    }

    /// How long the oldest push has waited.
    pub(crate) fn push_wait(&self, now: Instant) -> Duration {
        self.queues[Class::Push as usize].front().map_or(Duration::ZERO, |job| now.since(job.queued_at))
    }

    /// Bytes that wait in a class.
    pub(crate) fn waiting_len(&self, class: Class) -> usize {
        self.queues[class as usize].iter().map(|job| job.len + FRAME_LEN).sum()
    }

    fn turn(&mut self, may_start: impl Fn(PeerId) -> bool) -> Option<usize> {
        let [repair, push, startup] = &mut self.queues;
        if !repair.is_empty() && (push.is_empty() || self.repair_credit > 0) {
            return Some(Class::Repair as usize);
        }
        // The first whose link bears it, so that one slow joiner does not hold up the others.
        let ready = || startup.iter().position(|job| may_start(job.to));
        if !push.is_empty() && (self.startup_credit <= 0 || ready().is_none()) {
            return Some(Class::Push as usize);
        }
        let ready = ready()?;
        if ready > 0
            && let Some(job) = startup.remove(ready)
        {
            startup.push_front(job);
        }
        Some(Class::Startup as usize)
    }

    /// While they wait together, repair may take a quarter of what pushes take, and start-up a third.
    fn account(&mut self, job: &Job) {
        let len = i64::try_from(job.len).unwrap_or(0);
        let (repair, startup) = match job.class {
            Class::Repair => (-len, 0),
            Class::Push => (len / 4, len / 3),
            Class::Startup => (0, -len),
        };
        self.repair_credit = (self.repair_credit + repair).clamp(-CREDIT_LIMIT, CREDIT_LIMIT);
        let has_startup = !self.queues[Class::Startup as usize].is_empty();
        let startup_credit = (self.startup_credit + startup).clamp(-CREDIT_LIMIT, CREDIT_LIMIT);
        self.startup_credit = if has_startup { startup_credit } else { 0 };
    }
}
