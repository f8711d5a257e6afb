//! What is to happen, by time: a wheel of buckets for the near future and a heap for the rest.
//!
//! Everything of one bucket is ordered only when its time comes, so that scheduling and taking touch little memory even
//! with millions of events waiting.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

/// Width of a bucket, microseconds: at 10,000 peers some hundred events fall into one.
const BUCKET: u64 = 1_024;
/// Buckets of the wheel: 4 s, which most timers and all messages lie within.
const BUCKET_COUNT: usize = 4_096;

/// Events by rising time; those of the same time in the order in which they were scheduled.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// What lies before the end of the current bucket.
    current: BinaryHeap<Scheduled<E>>,
    /// The buckets after it, by number modulo [`BUCKET_COUNT`].
    wheel: Vec<Vec<Scheduled<E>>>,
    n_in_wheel: usize,
    /// What lies beyond the wheel.
    far: BinaryHeap<Scheduled<E>>,
    /// Number of the current bucket.
    bucket: u64,
    n_scheduled: u64,
}

#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            current: BinaryHeap::new(),
            wheel: (0..BUCKET_COUNT).map(|_| Vec::new()).collect(),
            n_in_wheel: 0,
            far: BinaryHeap::new(),
            bucket: 0,
            n_scheduled: 0,
        }
    }

    /// Adds what is to happen then; what should have happened before the last one taken happens next.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.n_scheduled += 1;
        let scheduled = Scheduled { at, order: self.n_scheduled, event };
        let bucket = at / BUCKET;
        if bucket <= self.bucket {
            self.current.push(scheduled);
        } else if bucket < self.bucket + BUCKET_COUNT as u64 {
            self.wheel[place(bucket)].push(scheduled);
            self.n_in_wheel += 1;
        } else {
            self.far.push(scheduled);
        }
    }

    /// The next one and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        while self.current.is_empty() {
            self.advance()?;
        }
        self.current.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }

    /// Makes the next bucket the current one; `None` when nothing is left.
    fn advance(&mut self) -> Option<()> {
        if self.n_in_wheel > 0 {
            self.bucket += 1;
        } else {
            self.bucket = self.far.peek()?.at / BUCKET;
        }
        let due = core::mem::take(&mut self.wheel[place(self.bucket)]);
        self.n_in_wheel -= due.len();
        self.current = BinaryHeap::from(due);
        while self.far.peek().is_some_and(|next| next.at / BUCKET <= self.bucket) {
            self.current.extend(self.far.pop());
        }
        Some(())
    }
}

fn place(bucket: u64) -> usize {
    usize::try_from(bucket).unwrap_or(0) % BUCKET_COUNT
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Waits from nothing over one bucket and the whole wheel to far beyond it.
        #[test]
        fn events_come_by_time_and_then_in_the_order_of_scheduling(
            waits in proptest::collection::vec(
                prop_oneof![Just(0), 0..2 * BUCKET, 0..3 * BUCKET * BUCKET_COUNT as u64], 1..300)
        ) {
            let mut queue = Queue::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (index, wait) in waits.iter().enumerate() {
                queue.push(now + wait, index);
                model.push((now + wait, index));
                if index % 3 == 2 {
                    model.sort_unstable();
                    let expected = model.remove(0);
                    now = expected.0;
                    prop_assert_eq!(queue.pop(), Some(expected));
                }
            }
            model.sort_unstable();
            for expected in model {
                prop_assert_eq!(queue.pop(), Some(expected));
            }
            prop_assert_eq!(queue.pop(), None);
        }
    }
}
