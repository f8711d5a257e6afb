//! What the server peer reads of its film because others ask for it. Of a film that may be longer than memory only what
//! was read last is kept.

use std::collections::{BTreeMap, VecDeque};

use cardume_media::PartId;
use cardume_wire::PeerId;

use crate::Outgoing;

/// Parts that are read at a time: one more than a disk has to do, so that it never waits for us. With the largest parts,
/// 16 MiB.
const READ_LIMIT: usize = 4;
/// Messages that wait for parts at most; who asked for more asks again. As many as may wait for one link.
const WAITING_LIMIT: usize = 4096;
/// Bytes of parts that are kept after they were sent: the neighbours of who asked for a part ask for it soon, too. Some
/// parts of 2 s of each of ten places in a film of 4 Mbit/s; beyond it there is the system's own memory of files.
const KEPT_LEN_LIMIT: usize = 16 * 1024 * 1024;

/// A message that waits for its part.
#[derive(Debug)]
pub(super) struct Waiting {
    /// To whom.
    pub(super) to: PeerId,
    /// What.
    pub(super) message: Outgoing,
}

/// Parts that are wanted, read and kept.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Wanted, and not read yet.
    queue: VecDeque<PartId>,
    /// Parts that are being read.
    n_open: usize,
    waiting: BTreeMap<PartId, Vec<Waiting>>,
    n_waiting: usize,
    /// What was read, oldest first, with its length.
    kept: VecDeque<(PartId, usize)>,
}

impl Reading {
    /// Sends a message once its part was read.
    pub(super) fn wait(&mut self, part: PartId, message: Waiting) {
        if self.n_waiting >= WAITING_LIMIT {
            return;
        }
        self.n_waiting += 1;
        let waiting = self.waiting.entry(part).or_default();
        if waiting.is_empty() {
            self.queue.push_back(part);
        }
        waiting.push(message);
    }

    /// The next part to read, while there are not too many at a time.
    pub(super) fn next(&mut self) -> Option<PartId> {
        let part = if self.n_open < READ_LIMIT { self.queue.pop_front() } else { None }?;
        self.n_open += 1;
        Some(part)
    }

    /// A part was read, or cannot be: gives what waited for it. Nothing for a part that was not asked for.
    pub(super) fn done(&mut self, part: PartId) -> Vec<Waiting> {
        let Some(waiting) = self.waiting.remove(&part) else { return Vec::new() };
        self.n_open -= 1;
        self.n_waiting -= waiting.len();
        waiting
    }

    /// Keeps a part of this length; gives those that have to go for it.
    pub(super) fn keep(&mut self, part: PartId, len: usize) -> Vec<PartId> {
        self.kept.push_back((part, len));
        let mut total: usize = self.kept.iter().map(|(_, len)| len).sum();
        let mut gone = Vec::new();
        while total > KEPT_LEN_LIMIT
            && self.kept.len() > 1
            && let Some((old, len)) = self.kept.pop_front()
        {
            total -= len;
            gone.push(old);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use cardume_wire::{Epoch, TrackId};

    use super::*;

    fn part(sequence: u32) -> PartId {
        PartId { epoch: Epoch(1), track: TrackId(0), sequence }
    }

    fn wait(reading: &mut Reading, sequence: u32) {
        let message = Outgoing::Descriptor(part(sequence));
        reading.wait(part(sequence), Waiting { to: PeerId::new(1), message });
    }

    #[test]
    fn a_part_is_read_once_for_all_who_wait_and_few_at_a_time() {
        let mut reading = Reading::default();
        for sequence in [0, 0, 1, 2, 3, 4, 0] {
            wait(&mut reading, sequence);
        }
        let mut read = || std::iter::from_fn(|| reading.next()).map(|part| part.sequence).collect::<Vec<_>>();
        assert_eq!(read(), [0, 1, 2, 3]);
        assert_eq!(reading.done(part(0)).len(), 3);
        assert_eq!(reading.next(), Some(part(4)));
        assert!(reading.done(part(9)).is_empty() && reading.next().is_none());
    }

    #[test]
    fn no_more_waits_than_the_limit() {
        let mut reading = Reading::default();
        for _ in 0..WAITING_LIMIT + 10 {
            wait(&mut reading, 7);
        }
        assert_eq!(reading.next(), Some(part(7)));
        assert_eq!(reading.done(part(7)).len(), WAITING_LIMIT);
        wait(&mut reading, 8);
        assert_eq!(reading.next(), Some(part(8)));
    }

    #[test]
    fn the_oldest_goes_when_the_kept_are_too_long_but_never_the_last() {
        let mut reading = Reading::default();
        assert!(reading.keep(part(0), KEPT_LEN_LIMIT / 2).is_empty());
        assert!(reading.keep(part(1), KEPT_LEN_LIMIT / 2).is_empty());
        assert_eq!(reading.keep(part(2), 1), [part(0)]);
        assert_eq!(reading.keep(part(3), KEPT_LEN_LIMIT * 2), [part(1), part(2)]);
    }
}
