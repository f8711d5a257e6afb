//! A lane, whatever neighbours say in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    Hint(PeerId),
    Refuse(PeerId),
    Ask(PeerId),
    Accept,
    Promote,
    LetGo,
    Expire,
    Drop(PeerId),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = || (1u64..60).prop_map(PeerId::new);
    let step = prop_oneof![
        4 => (0u64..1_200).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        4 => peer().prop_map(Step::Hint),
        4 => peer().prop_map(Step::Refuse),
        3 => peer().prop_map(Step::Ask),
        3 => Just(Step::Accept),
        2 => Just(Step::Promote),
        1 => Just(Step::LetGo),
        3 => Just(Step::Expire),
        1 => peer().prop_map(Step::Drop),
    ];
    proptest::collection::vec(step, 1..200)
}

fn take(lane: &mut Lane, now: &mut Instant, step: &Step) -> Result<(), TestCaseError> {
    match *step {
        Step::Pass(time) => *now += time,
        Step::Hint(peer) => {
            let mut named: Vec<PeerId> = lane.hinted(*now).filter(|hinted| *hinted != peer).collect();
            if named.len() < HINT_LIMIT {
                named.push(peer);
            }
            lane.hint(peer, *now);
            prop_assert_eq!(lane.hinted(*now).collect::<Vec<_>>(), named, "the latest last, each once");
            prop_assert!(!lane.is_refused(peer, *now), "it has room now");
        }
        Step::Refuse(peer) => {
            lane.refuse(peer, *now + Duration::from_secs(1));
            prop_assert!(lane.is_refused(peer, *now) && !lane.hinted(*now).any(|hinted| hinted == peer));
            prop_assert!(!lane.is_refused(peer, *now + Duration::from_secs(1)));
        }
        Step::Ask(peer) => lane.successor = Some(Successor { peer, asked_at: *now, accepted: None }),
        Step::Accept => {
            let at = *now;
            let waiting = lane.successor.as_mut().filter(|successor| successor.accepted.is_none());
            if let Some(successor) = waiting {
                successor.accepted = Some((at, vec![PeerId::SERVER]));
            }
        }
        Step::Promote => promote(lane, *now)?,
        Step::LetGo => {
            if let Some(provider) = &mut lane.provider {
                provider.leaving_since = Some(*now);
                prop_assert!(lane.is_in_need());
            }
        }
        Step::Expire => expire(lane, *now)?,
        Step::Drop(peer) => {
            lane.drop_peer(peer);
            let is_there = lane.provider_is(peer) || lane.successor_is(peer) || lane.is_refused(peer, *now);
            prop_assert!(!is_there && !lane.hinted(*now).any(|hinted| hinted == peer));
        }
    }
    Ok(())
}

/// Only who accepted takes over, and who pushed before is told, unless it is the same.
fn promote(lane: &mut Lane, now: Instant) -> Result<(), TestCaseError> {
    let before = lane.provider.as_ref().map(|provider| provider.peer);
    let next = lane.successor.clone().filter(|successor| successor.accepted.is_some());
    let next = next.map(|successor| successor.peer);
    let was_current = lane.is_current();
    let told = lane.promote(now);
    prop_assert_eq!(lane.provider.as_ref().map(|provider| provider.peer), next.or(before));
    prop_assert_eq!(told, before.filter(|before| next.is_some_and(|next| next != *before)));
    prop_assert!(lane.successor.is_none());
    prop_assert_eq!(lane.is_current(), was_current);
    prop_assert!(next.is_none() || !lane.is_in_need(), "a fresh provider is given its time");
    Ok(())
}

/// Who takes too long is given up, and nobody sooner.
fn expire(lane: &mut Lane, now: Instant) -> Result<(), TestCaseError> {
    lane.drop_left(now);
    let is_over =
        |provider: &Provider| provider.leaving_since.is_some_and(|at| now.since(at) > RELEASE_GRACE);
    prop_assert!(!lane.provider.as_ref().is_some_and(is_over));
    let is_late = lane.successor.as_ref().filter(|successor| match &successor.accepted {
        None => now.since(successor.asked_at) > ANSWER_LIMIT,
        Some((at, _)) => now.since(*at) > DELIVERY_LIMIT,
    });
    let given_up = is_late.map(|successor| successor.peer);
    let kept = lane.successor.as_ref().map(|successor| successor.peer).filter(|_| given_up.is_none());
    prop_assert_eq!(lane.expire(now, Duration::ZERO), given_up);
    prop_assert_eq!(lane.successor.as_ref().map(|successor| successor.peer), kept);
    Ok(())
}

proptest! {
    #[test]
    fn a_lane_remembers_little_and_only_of_those_who_are_there(steps in steps()) {
        let (mut lane, mut now) = (Lane::default(), Instant::default());
        for step in steps {
            take(&mut lane, &mut now, &step)?;
            prop_assert!(lane.refusals.len() <= REFUSAL_LIMIT && lane.hints.len() <= HINT_LIMIT);
        }
    }
}

/// A lane with a provider behind so many others.
fn fed(path_len: usize) -> Lane {
    let now = Instant::default();
    let path = vec![PeerId::new(1); path_len];
    let successor = Successor { peer: PeerId::new(1), asked_at: now, accepted: Some((now, path)) };
    let mut lane = Lane { successor: Some(successor), starving_since: Some(now), ..Lane::default() };
    assert_eq!(lane.promote(now), None);
    lane
}

#[test]
fn a_path_is_told_with_ourselves_at_its_end_while_it_is_short_enough() {
    let own = PeerId::new(9);
    assert_eq!(Lane::default().path_with(own), None);
    assert_eq!(fed(1).path_with(own), Some(vec![PeerId::new(1), own]));
    assert!(fed(PATH_LIMIT - 1).path_with(own).is_some_and(|path| path.len() == PATH_LIMIT));
    assert_eq!(fed(PATH_LIMIT).path_with(own), None);
}

#[test]
fn as_many_refusals_are_remembered_as_there_is_room_for_and_the_soonest_over_goes() {
    let mut lane = Lane::default();
    let refusals = || (0..=REFUSAL_LIMIT as u64).map(|n| (PeerId::new(n), Instant::from_micros(1_000 + n)));
    for (peer, until) in refusals() {
        lane.refuse(peer, until);
    }
    let forgotten =
        refusals().map(|(peer, _)| peer).filter(|peer| !lane.is_refused(*peer, Instant::default()));
    assert_eq!(forgotten.collect::<Vec<_>>(), [PeerId::new(0)]);
    lane.forgive(PeerId::new(5));
    assert!(!lane.is_refused(PeerId::new(5), Instant::default()));
}

#[test]
fn a_provider_that_is_late_three_times_in_a_row_is_no_good() {
    let mut lane = fed(0);
    let needs = |lane: &mut Lane, n_overdue| {
        lane.provider.as_mut().expect("it is fed").n_overdue = n_overdue;
        lane.is_in_need()
    };
    assert_eq!([0, 2, 3].map(|n| needs(&mut lane, n)), [false, false, true]);
    assert!(Lane::default().is_in_need());
}

#[test]
fn starving_is_counted_from_its_beginning_to_the_next_provider() {
    let limit = Duration::from_millis(300);
    let lane = Lane { starving_since: Some(Instant::default()), ..Lane::default() };
    assert!(lane.starves_since_before(Instant::default() + limit, limit));
    assert!(!lane.starves_since_before(Instant::default() + limit / 2, limit));
    assert!(!fed(0).starves_since_before(Instant::default() + limit, limit));
}

#[test]
fn an_age_is_told_only_of_stripes_that_are_as_new_as_there_is() {
    let mut stripes = Stripes::new(TrackSet::ALL);
    for (stripe, age) in Stripe::all().zip([None, Some(70), Some(120_000)]) {
        *stripes.lane_mut(stripe) = fed(0);
        let provider = stripes.lane_mut(stripe).provider.as_mut().expect("it is fed");
        (provider.is_current, provider.age) = (true, age.map(Duration::from_millis));
    }
    let fourth = Stripe::all().nth(3).expect("there are eight");
    *stripes.lane_mut(fourth) = fed(0);
    let guess = u16::try_from(AGE_GUESS.as_millis()).expect("short");
    let unknown = UNKNOWN_AGE;
    assert_eq!(stripes.ages(), [guess, 70, UNKNOWN_AGE - 1, unknown, unknown, unknown, unknown, unknown]);
    assert_eq!(stripes.provided_by(PeerId::new(1)).len(), 4);
    assert_eq!(
        stripes.paths().iter().map(|path| path.stripe).collect::<Vec<_>>(),
        stripes.provided_by(PeerId::new(1))
    );
}
