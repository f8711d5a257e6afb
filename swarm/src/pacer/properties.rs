//! The pacer against a naive account: a list of what waits, and what has passed.

use cardume_wire::{BlockNumber, Epoch, TrackId};
use proptest::prelude::*;

use super::*;

const BURST: usize = 2 * 16_500;
const CLASSES: [Class; 4] = [Class::Forward, Class::Repair, Class::Push, Class::Startup];

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn block(number: u32) -> Cargo {
    Cargo::Block(BlockId { epoch: Epoch(1), track: TrackId(0), number: BlockNumber(number) })
}

/// Jobs with blocks of their own, in the order in which they are lined up.
fn jobs(n: usize) -> impl Strategy<Value = Vec<Job>> {
    let job = (1u64..5, 0usize..4, 1usize..16_500, 0u64..800);
    proptest::collection::vec(job, 1..n).prop_map(|jobs| {
        let job = |(number, (to, class, len, due)): (u32, (u64, usize, usize, u64))| Job {
            to: PeerId::new(to),
            cargo: block(number),
            class: CLASSES[class],
            len,
            due: at(due),
        };
        (0..).zip(jobs).map(job).collect()
    })
}

/// The order in which they should go: by class, then by what is due first, then as they came.
fn in_order(jobs: &[Job]) -> Vec<Job> {
    let mut jobs = jobs.to_vec();
    jobs.sort_by_key(|job| (CLASSES.iter().position(|class| *class == job.class), job.due));
    jobs
}

fn unlimited(jobs: &[Job]) -> Pacer {
    let mut pacer = Pacer::new(None, BURST, Instant::default());
    assert!(jobs.iter().all(|job| pacer.push(*job)));
    pacer
}

/// All that goes at once.
fn sent(pacer: &mut Pacer, now: Instant, may_start: impl Fn(PeerId) -> bool) -> Vec<Job> {
    let turns = core::iter::from_fn(|| pacer.pop(now, &may_start));
    let sent = turns.filter_map(|turn| if let Turn::Send(job) = turn { Some(job) } else { None });
    sent.collect()
}

fn len_of(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.len + FRAME_LEN).sum()
}

proptest! {
    #[test]
    fn what_others_wait_for_goes_first_and_within_a_class_what_is_due_first(jobs in jobs(60)) {
        prop_assert_eq!(sent(&mut unlimited(&jobs), at(0), |_| true), in_order(&jobs));
    }

    #[test]
    fn start_up_media_waits_for_those_who_bear_no_more_and_holds_up_nobody_else(jobs in jobs(60)) {
        let mut pacer = unlimited(&jobs);
        let (slow, is_slow) = (PeerId::new(1), |job: &Job| job.to == PeerId::new(1) && job.class == Class::Startup);
        let (waits, goes): (Vec<Job>, Vec<Job>) = in_order(&jobs).into_iter().partition(is_slow);
        prop_assert_eq!(sent(&mut pacer, at(0), |peer| peer != slow), goes);
        prop_assert_eq!(pacer.starting_len(), len_of(&waits));
        prop_assert_eq!(sent(&mut pacer, at(0), |_| true), waits);
    }

    #[test]
    fn what_is_too_late_is_given_up_and_nothing_else(jobs in jobs(60), now in 0u64..2_000) {
        let mut pacer = unlimited(&jobs);
        let turns: Vec<Turn> = core::iter::from_fn(|| pacer.pop(at(now), |_| true)).collect();
        for turn in &turns {
            let (job, is_dropped) = match turn {
                Turn::Send(job) => (job, false),
                Turn::Drop(job) => (job, true),
            };
            let limit = if job.class == Class::Repair { REPAIR_LATE_LIMIT } else { LATE_LIMIT };
            prop_assert_eq!(at(now).since(job.due) > limit, is_dropped, "{:?} at {}", job, now);
        }
        prop_assert_eq!(turns.len(), jobs.len(), "each once");
    }

    #[test]
    fn nothing_waits_while_it_may_go_and_it_goes_when_it_was_said(
        jobs in jobs(40),
        hard in proptest::option::of(500_000u64..8_000_000),
        soft in proptest::option::of(500_000u64..8_000_000),
    ) {
        // Nothing is late however long it takes.
        let jobs: Vec<Job> = jobs.into_iter().map(|job| Job { due: at(60_000), ..job }).collect();
        let mut pacer = Pacer::new(hard.map(BitsPerSec), BURST, at(0));
        if let Some(soft) = soft {
            pacer.set_estimate(BitsPerSec(soft), BURST, at(0));
        }
        prop_assert!(jobs.iter().all(|job| pacer.push(*job)));
        let (mut now, mut gone) = (at(0), Vec::new());
        loop {
            gone.extend(sent(&mut pacer, now, |_| true));
            prop_assert_eq!(pacer.is_held_back(), gone.len() < jobs.len());
            let Some(next) = pacer.next_at() else { break };
            prop_assert!(next > now);
            let before = Instant::from_micros(next.as_micros() - 2);
            prop_assert!(before <= now || sent(&mut pacer.clone(), before, |_| true).is_empty(), "not sooner");
            now = next;
        }
        prop_assert_eq!(&gone, &in_order(&jobs));
        // A hard limit lets a second's worth pass at once, and an estimate what its bucket holds.
        let passed = |rate: u64, time| BitsPerSec(rate).bytes_in(time);
        let time = now.since(at(0));
        let hard = hard.map(|rate| passed(rate, time + Duration::from_secs(1)));
        let soft = soft.map(|rate| passed(rate, time) + 2 * BURST as u64);
        let most = hard.into_iter().chain(soft).min().unwrap_or(u64::MAX);
        prop_assert!(len_of(&gone) as u64 <= most, "{} bytes", len_of(&gone));
    }

    #[test]
    fn who_is_in_a_hurry_is_sent_before_others_of_its_class(jobs in jobs(40), chosen in any::<prop::sample::Index>()) {
        let mut pacer = unlimited(&jobs);
        let chosen = jobs[chosen.index(jobs.len())];
        prop_assert!(pacer.hurry(chosen.to, chosen.cargo, at(0)));
        prop_assert!(!pacer.hurry(PeerId::new(9), chosen.cargo, at(0)) && !pacer.hurry(chosen.to, block(999), at(0)));
        let sent = sent(&mut pacer, at(0), |_| true);
        prop_assert_eq!(sent.len(), jobs.len(), "none twice and none lost");
        let place = |cargo| sent.iter().position(|job| job.cargo == cargo);
        let later = jobs.iter().filter(|job| job.class == Class::Startup && job.due > at(0));
        for job in later.filter(|job| chosen.class == Class::Startup && job.cargo != chosen.cargo) {
            prop_assert!(place(chosen.cargo) < place(job.cargo));
        }
    }

    #[test]
    fn a_child_that_goes_takes_its_jobs_along_and_only_those(jobs in jobs(60), gone in 1u64..5) {
        let mut pacer = unlimited(&jobs);
        pacer.retain(|job| job.to != PeerId::new(gone));
        let left: Vec<Job> = in_order(&jobs).into_iter().filter(|job| job.to != PeerId::new(gone)).collect();
        let (starting, other): (Vec<Job>, Vec<Job>) = left.iter().partition(|job| job.class == Class::Startup);
        prop_assert_eq!((pacer.waiting_len(), pacer.starting_len()), (len_of(&other), len_of(&starting)));
        let push = left.iter().find(|job| job.class == Class::Push);
        let lateness = push.map_or(Duration::ZERO, |job| at(500).since(job.due));
        prop_assert_eq!(pacer.lateness(at(500)), lateness);
        prop_assert_eq!(sent(&mut pacer, at(0), |_| true), left);
    }

    #[test]
    fn pulls_take_their_share_of_a_busy_uplink_and_no_more(
        rate in 800_000u64..8_000_000,
        pulls in proptest::collection::vec((0u64..60, 1usize..16_500), 1..200),
    ) {
        let mut pacer = Pacer::new(Some(BitsPerSec(rate)), BURST, at(0));
        let waits = Job { to: PeerId::new(1), cargo: block(0), class: Class::Push, len: 1, due: at(60_000) };
        prop_assert!(pacer.push(waits));
        let (mut now, mut admitted) = (at(0), 0u64);
        for (wait, len) in pulls {
            now += Duration::from_millis(wait);
            admitted += if pacer.admit_pull(len, now) { len as u64 } else { 0 };
            let share = BitsPerSec(rate / PULL_SHARE).bytes_in(now.since(at(0)));
            prop_assert!(admitted <= share + BURST as u64, "{} bytes by {}", admitted, now);
        }
    }
}

#[test]
fn pulls_get_their_share_of_a_busy_uplink() {
    let mut pacer = Pacer::new(Some(BitsPerSec(8_000_000)), BURST, at(0));
    assert!(pacer.push(Job {
        to: PeerId::new(1),
        cargo: block(0),
        class: Class::Push,
        len: 1,
        due: at(60_000)
    }));
    // Four times as much is asked for as they may take.
    let n_admitted = (0..2_000).filter(|millis| pacer.admit_pull(500, at(*millis))).count();
    let share = pacer.rate().map_or(0, |rate| rate.0 / PULL_SHARE * 2 / 8);
    let admitted = n_admitted as u64 * 500;
    assert!(admitted.abs_diff(share) < share / 20, "{admitted} bytes, and their share is {share}");
}

#[test]
fn pulls_are_answered_while_the_uplink_is_idle() {
    let mut pacer = Pacer::new(Some(BitsPerSec(8_000_000)), BURST, at(0));
    // A block each 50 ms is a third of this uplink, and more than the share of pulls.
    assert!((1..100).all(|n| pacer.admit_pull(16_000, at(n * 50))));
}

#[test]
fn no_more_waits_than_the_queue_holds() {
    let mut pacer = Pacer::new(None, BURST, at(0));
    let job = |number, class| Job { to: PeerId::new(1), cargo: block(number), class, len: 1, due: at(0) };
    let n_taken = (0..5_000).filter(|number| pacer.push(job(*number, Class::Push))).count();
    assert_eq!(n_taken, QUEUE_LIMIT);
    assert!(pacer.push(job(0, Class::Repair)), "each class has a queue of its own");
}

#[test]
fn control_counts_against_what_may_pass() {
    let rate = BitsPerSec(1_000_000);
    let mut pacer = Pacer::new(Some(rate), BURST, at(0));
    let job = Job { to: PeerId::new(1), cargo: block(0), class: Class::Push, len: 10_000, due: at(60_000) };
    let goes = |mut pacer: Pacer| {
        assert!(pacer.push(job));
        pacer.pop(at(0), |_| true) == Some(Turn::Send(job))
    };
    assert!(goes(pacer.clone()));
    pacer.charge(120_000, at(0));
    assert!(!goes(pacer), "a second's worth is gone");
}

#[test]
fn a_part_goes_as_a_whole_and_start_up_media_leaves_room_for_it() {
    let mut pacer = Pacer::new(Some(BitsPerSec(8_000_000)), BURST, at(0));
    let mut pass = |class, n: u32, millis| {
        let job =
            |number| Job { to: PeerId::new(1), cargo: block(number), class, len: 10_000, due: at(60_000) };
        assert!((0..n).all(|number| pacer.push(job(number))));
        let n_sent = sent(&mut pacer, at(millis), |_| true).len();
        pacer.retain(|_| false);
        n_sent
    };
    let starting: usize = (0..50).map(|n| pass(Class::Startup, 100, n * 20)).sum();
    assert!((80..90).contains(&starting), "nine tenths of a second's worth: {starting}");
    let pushed = pass(Class::Push, 100, 950);
    assert!((8..20).contains(&pushed), "what is left of the second: {pushed}");
    let pushed = pass(Class::Push, 100, 4_000);
    assert!((90..100).contains(&pushed), "a second's worth at once: {pushed}");
    assert_eq!(pass(Class::Startup, 100, 4_010), 0);
}
