//! When uplinks are free.

use core::ops::Range;

/// Slots count from the first copy, both ways; these are before and after all that can be.
const ALL_SLOTS: Range<i64> = -(1 << 40)..(1 << 40);

/// A viewer's uplink: one copy at a time, each in a slot as long as a copy.
#[derive(Debug)]
pub(super) struct Uplink {
    /// Microseconds that a copy takes; `None` of an uplink that sends nothing.
    copy: Option<i64>,
    /// When slot 0 begins: with the first copy.
    origin: Option<i64>,
    /// Slots that are free, in order.
    free: Vec<Range<i64>>,
}

/// A copy's time on an uplink, microseconds.
pub(super) type Slot = Range<u64>;

impl Uplink {
    /// An uplink of `rate` bits per second for copies of `block` bits.
    pub(super) fn new(rate: u64, block: u64) -> Self {
        let copy = (rate > 0).then(|| signed(copy_time(rate, block)));
        Self { copy, origin: None, free: vec![ALL_SLOTS] }
    }

    /// The first free slot that begins at this time or later.
    pub(super) fn first_from(&self, time: u64) -> Option<Slot> {
        let copy = self.copy?;
        let Some(origin) = self.origin else { return Some(time..time + unsigned(copy)) };
        let from = (signed(time) - origin + copy - 1).div_euclid(copy);
        let slot = self.free.iter().find(|free| free.end > from)?.start.max(from);
        let begins_at = unsigned(origin + slot * copy);
        Some(begins_at..begins_at + unsigned(copy))
    }

    /// Takes a slot that [`Uplink::first_from`] gave.
    pub(super) fn take(&mut self, taken: &Slot) {
        let Some(copy) = self.copy else { return };
        let origin = *self.origin.get_or_insert(signed(taken.start));
        let slot = (signed(taken.start) - origin).div_euclid(copy);
        let Some(index) = self.free.iter().position(|free| free.contains(&slot)) else { return };
        let Range { start, end } = self.free[index].clone();
        let left = [start..slot, slot + 1..end];
        self.free.splice(index..=index, left.into_iter().filter(|free| !free.is_empty()));
    }

    /// Nobody will ask for slots that begin before this time.
    pub(super) fn forget_before(&mut self, time: u64) {
        let (Some(copy), Some(origin)) = (self.copy, self.origin) else { return };
        let first = (signed(time) - origin).div_euclid(copy);
        let n_over = self.free.iter().take_while(|free| free.end <= first).count();
        self.free.drain(..n_over);
    }
}

/// The server's uplink. It alone holds a block that is published, and so may not be busy with the one before.
#[derive(Debug)]
pub(super) struct Server {
    copy: u64,
    free_at: u64,
    /// When the next block is published.
    next_at: u64,
    is_unsent: bool,
}

impl Server {
    /// An uplink of `rate` bits per second for copies of `block` bits.
    pub(super) fn new(rate: u64, block: u64) -> Self {
        Self { copy: copy_time(rate, block), free_at: 0, next_at: 0, is_unsent: true }
    }

    /// A block is published now, and another at `next_at`.
    pub(super) fn publish(&mut self, now: u64, next_at: u64) {
        self.free_at = self.free_at.max(now);
        self.next_at = next_at;
        self.is_unsent = true;
    }

    /// The time of the next copy, if it is over before the next block is published. The first may take longer.
    pub(super) fn next(&self) -> Option<Slot> {
        let slot = self.free_at..self.free_at + self.copy;
        // Rounded up, a copy may take a microsecond longer.
        (self.is_unsent || slot.end <= self.next_at + 1).then_some(slot)
    }

    /// Takes what [`Server::next`] gave.
    pub(super) fn take(&mut self, slot: &Slot) {
        self.free_at = slot.end;
        self.is_unsent = false;
    }
}

/// Microseconds, rounded up so that an uplink never carries more than its rate.
fn copy_time(rate: u64, block: u64) -> u64 {
    (block * 1_000_000).div_ceil(rate).max(1)
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

fn unsigned(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_copy_goes_at_once_and_the_others_by_its_slots() {
        let mut uplink = Uplink::new(1_000_000, 100);
        assert_eq!(uplink.first_from(1_030), Some(1_030..1_130));
        uplink.take(&(1_030..1_130));
        assert_eq!(uplink.first_from(1_030), Some(1_130..1_230));
        assert_eq!(uplink.first_from(1_131), Some(1_230..1_330));
    }

    #[test]
    fn a_gap_before_a_taken_slot_is_used() {
        let mut uplink = Uplink::new(1_000_000, 100);
        uplink.take(&(1_000..1_100));
        uplink.take(&(1_200..1_300));
        assert_eq!(uplink.first_from(800), Some(800..900));
        assert_eq!(uplink.first_from(950), Some(1_100..1_200));
        uplink.take(&(1_100..1_200));
        assert_eq!(uplink.first_from(950), Some(1_300..1_400));
    }

    #[test]
    fn what_is_forgotten_changes_nothing_later() {
        let mut uplink = Uplink::new(1_000_000, 100);
        for at in [1_000, 1_200, 1_500] {
            uplink.take(&(at..at + 100));
        }
        let later = [1_250, 1_310, 1_450].map(|time| uplink.first_from(time));
        uplink.forget_before(1_250);
        assert_eq!([1_250, 1_310, 1_450].map(|time| uplink.first_from(time)), later);
    }

    #[test]
    fn no_uplink_sends_nothing() {
        assert_eq!(Uplink::new(0, 100).first_from(0), None);
    }

    #[test]
    fn the_server_is_free_again_when_the_next_block_is_published() {
        let mut server = Server::new(1_000_000, 100);
        server.publish(0, 250);
        for _ in 0..2 {
            let slot = server.next().unwrap();
            server.take(&slot);
        }
        assert_eq!(server.next(), None);
        server.publish(250, 500);
        assert_eq!(server.next(), Some(250..350));
    }
}
