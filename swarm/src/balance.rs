//! Who rests while there are more viewers than uplinks bear, so that the others see the whole stream.

use core::cmp::Reverse;

use cardume_wire::{PeerId, STRIPE_COUNT};

use crate::Instant;

/// Stripes that a viewer takes.
const WHOLE: u64 = STRIPE_COUNT as u64;
/// Part of all slots that has to be free beyond what a viewer takes before it is called back: 1/32. Slots are measured, and
/// who is called back should not be sent away again.
const CALM: u64 = 32;

/// A viewer, as the server knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) peer: PeerId,
    /// Stripes it could push to others.
    pub(crate) slots: u16,
    /// Whether it was told to rest.
    pub(crate) rests: bool,
    /// When it came, or began to rest.
    pub(crate) since: Instant,
}

impl Seat {
    /// Stripes that it takes; who rests takes what it passes on.
    fn takes(&self) -> u64 {
        if self.rests { u64::from(self.slots > 0) } else { WHOLE }
    }

    /// Stripes that are gained when it rests.
    fn gain(&self) -> u64 {
        WHOLE - u64::from(self.slots > 0)
    }
}

/// Whether all slots together are fewer than what all viewers take.
pub(crate) fn is_short(own_slots: u64, seats: &[Seat]) -> bool {
    taken(seats) > supply(own_slots, seats)
}

/// Those who are to rest when slots lack: who can feed the fewest, of them who came last; nobody who gives at least as much
/// as it takes.
pub(crate) fn to_rest(own_slots: u64, seats: &[Seat]) -> Vec<PeerId> {
    let mut lacking = taken(seats).saturating_sub(supply(own_slots, seats));
    let mut able: Vec<&Seat> =
        seats.iter().filter(|seat| !seat.rests && u64::from(seat.slots) < WHOLE).collect();
    able.sort_unstable_by_key(|seat| (seat.slots, Reverse(seat.since), seat.peer));
    let chosen = able.into_iter().take_while(|seat| {
        let is_needed = lacking > 0;
        lacking = lacking.saturating_sub(seat.gain());
        is_needed
    });
    chosen.map(|seat| seat.peer).collect()
}

/// Those who are called back: who can feed the most, of them who rests longest.
pub(crate) fn to_call(own_slots: u64, seats: &[Seat]) -> Vec<PeerId> {
    let supply = supply(own_slots, seats);
    let mut left = supply.saturating_sub(taken(seats)).saturating_sub(supply / CALM);
    let mut resting: Vec<&Seat> = seats.iter().filter(|seat| seat.rests).collect();
    resting.sort_unstable_by_key(|seat| (Reverse(seat.slots), seat.since, seat.peer));
    let chosen = resting.into_iter().take_while(|seat| {
        let has_room = left >= seat.gain();
        left = left.saturating_sub(seat.gain());
        has_room
    });
    chosen.map(|seat| seat.peer).collect()
}

fn supply(own_slots: u64, seats: &[Seat]) -> u64 {
    own_slots + seats.iter().map(|seat| u64::from(seat.slots)).sum::<u64>()
}

fn taken(seats: &[Seat]) -> u64 {
    seats.iter().map(Seat::takes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat(peer: u64, slots: u16, since_ms: u64) -> Seat {
        Seat { peer: PeerId::new(peer), slots, rests: false, since: Instant::from_micros(since_ms * 1000) }
    }

    fn peers(ids: &[u64]) -> Vec<PeerId> {
        ids.iter().map(|&id| PeerId::new(id)).collect()
    }

    fn set(seats: &mut [Seat], peers: &[PeerId], rests: bool) {
        for seat in seats.iter_mut().filter(|seat| peers.contains(&seat.peer)) {
            seat.rests = rests;
        }
    }

    #[test]
    fn who_gives_least_rests_first_and_of_them_who_came_last() {
        let seats = [seat(1, 0, 10), seat(2, 0, 20), seat(3, 4, 30), seat(4, 20, 40)];
        assert_eq!(to_rest(8, &seats), [], "32 slots for four viewers");
        assert_eq!(to_rest(7, &seats), peers(&[2]));
        assert_eq!(to_rest(0, &seats), peers(&[2]));
        assert_eq!(to_rest(0, &[seats[0], seats[1], seats[2]]), peers(&[2, 1, 3]));
    }

    #[test]
    fn who_gives_as_much_as_it_takes_never_rests() {
        let seats = [seat(1, 8, 0), seat(2, 8, 0), seat(3, 7, 0)];
        assert_eq!(to_rest(0, &seats), peers(&[3]));
    }

    #[test]
    fn who_gives_most_is_called_back_first_and_of_them_who_rests_longest() {
        let mut seats = [seat(1, 0, 10), seat(2, 0, 20), seat(3, 4, 30)];
        set(&mut seats, &peers(&[1, 2, 3]), true);
        assert_eq!(to_call(3, &seats), []);
        assert_eq!(to_call(4, &seats), peers(&[3]), "it takes a stripe already, and gives four");
        assert_eq!(to_call(11, &seats), peers(&[3]));
        assert_eq!(to_call(12, &seats), peers(&[3, 1]));
    }

    proptest! {
        #[test]
        fn the_chosen_are_enough_and_nobody_is_called_back_at_once(
            own_slots in 0..200u64,
            slots in prop::collection::vec(0..30u16, 0..60),
        ) {
            let mut seats: Vec<Seat> = (1..).zip(&slots).map(|(id, &slots)| seat(id, slots, id)).collect();
            let chosen = to_rest(own_slots, &seats);
            prop_assert_eq!(chosen.is_empty(), !is_short(own_slots, &seats) || slots.iter().all(|&n| n >= 8));
            set(&mut seats, &chosen, true);
            let all_rest = seats.iter().all(|seat| seat.rests || seat.slots >= 8);
            prop_assert!(all_rest || !is_short(own_slots, &seats));
            prop_assert_eq!(to_call(own_slots, &seats), []);
            set(&mut seats, &chosen[..chosen.len().min(1)], false);
            prop_assert!(chosen.is_empty() || is_short(own_slots, &seats), "one fewer would have been enough");
        }
    }
}
